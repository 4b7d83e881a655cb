package admin

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// tokenFile is the name of the file that a token made at start-up is left in.
const tokenFile = "admin.token"

// access says who may ask for a path over TCP without a token.
type access int

const (
	nobody   access = iota // a path unknown to the table falls here
	loopback               // peers on this box
	anybody
)

// allowed decides over one request. A Unix socket lets in whom its mode let in.
func (s *Server) allowed(a access, r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if ok && local.Network() == "unix" {
		return true
	}
	return a == anybody || a == loopback && fromLoopback(r.RemoteAddr) || s.bears(r)
}

func fromLoopback(remote string) bool {
	a, err := netip.ParseAddrPort(remote)
	return err == nil && a.Addr().Unmap().IsLoopback()
}

// bears says whether r shows the token. Hashes are compared, so that the time
// it takes tells neither the token's bytes nor its length.
func (s *Server) bears(r *http.Request) bool {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if s.token == "" || !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got, want := sha256.Sum256([]byte(strings.TrimSpace(token))), sha256.Sum256([]byte(s.token))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// keepToken reads the token that the process before this one made in dir; without one there is no file.
func keepToken(dir string) (string, *ownFile) {
	path := filepath.Join(dir, tokenFile)
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxTokenFile {
		return "", nil
	}
	b, err := os.ReadFile(path)
	token := strings.TrimSpace(string(b))
	if err != nil || checkToken("token", token) != nil {
		return "", nil
	}
	return token, &ownFile{path: path, info: info, inherited: true}
}

// makeToken makes a random token and leaves it in dir, readable by the
// daemon's user alone. A reader finds the old file or the new one, never a half.
func makeToken(dir string) (string, *ownFile, error) {
	token := rand.Text()
	f, err := os.CreateTemp(dir, "."+tokenFile+"-") // mode 0600
	if err != nil {
		return "", nil, err
	}
	defer os.Remove(f.Name()) // in vain once it has its name
	_, err = f.WriteString(token + "\n")
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		return "", nil, err
	}
	info, err := os.Lstat(f.Name())
	if err != nil {
		return "", nil, err
	}
	path := filepath.Join(dir, tokenFile)
	if err := os.Rename(f.Name(), path); err != nil {
		return "", nil, err
	}
	return token, &ownFile{path: path, info: info}, nil
}
