package redistest

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// errNoServer is the one sentence of a machine without Redis.
var errNoServer = errors.New("redis-server is neither in PATH nor in .tools/redis: run tools/redis, or apt-get install redis-server")

// program returns redis-server and what it needs in its environment.
func program() (file string, environment []string, err error) {
	if file, err = exec.LookPath("redis-server"); err == nil {
		return file, nil, nil
	}
	root, err := project()
	if err != nil {
		return "", nil, err
	}
	unpacked := filepath.Join(root, ".tools", "redis")
	file = filepath.Join(unpacked, "usr", "bin", "redis-server")
	if _, err := os.Stat(file); err != nil {
		return "", nil, errNoServer
	}
	return file, []string{"LD_LIBRARY_PATH=" + strings.Join(libraryDirs(unpacked), ":")}, nil
}

// project returns the directory of go.mod, above the package that is being tested.
func project() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errNoServer
		}
		dir = filepath.Dir(dir)
	}
}

// libraryDirs returns the directories below root that hold shared libraries.
func libraryDirs(root string) []string {
	var dirs []string
	_ = filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error {
		if err == nil && strings.Contains(filepath.Base(file), ".so") && !slices.Contains(dirs, filepath.Dir(file)) {
			dirs = append(dirs, filepath.Dir(file))
		}
		return nil
	})
	return dirs
}
