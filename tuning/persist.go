package tuning

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// persistMark begins the file that Persist writes: Unpersist removes no other.
const persistMark = "# Written by edged tune."

// persistPath is where sysctls are kept over a reboot.
func (b *Box) persistPath() string { return b.path("etc/sysctl.d/" + ownFile) }

// ErrForeign says that the file of Persist's name is not Persist's.
var ErrForeign = errors.New("not written by edged")

// Persist has the sysctls that plan changes, and those that edged has changed, set at every boot, by a file that systemd-sysctl
// reads. Each line begins with a dash: a key that is not there, since a module comes later, is no failure of the boot. Names
// are set in order, so that an administrator's 99-… still wins. Devices, interrupts and files of /sys are not kept that way: the
// unit that applies the plan at boot sets them.
func (b *Box) Persist(plan Plan) (file string, err error) {
	file = b.persistPath()
	if err := b.ownsPersisted(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return file, err
	}
	s, err := b.load()
	if err != nil {
		return file, err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s Made for %s links; edged tune apply makes it anew, and edged tune revert removes it.\n", persistMark, group(plan.Links))
	for _, e := range plan.Entries {
		mine := s != nil && s.record(e.Kind, e.Key) != nil
		if e.Kind == KindSysctl && e.Wanted != "" && (e.Status == Change || e.Status == OK && mine) {
			fmt.Fprintf(&text, "\n# %s\n-%s = %s\n", e.Why, e.Key, e.Wanted)
		}
	}
	if err := os.MkdirAll(b.path("etc/sysctl.d"), 0o755); err != nil {
		return file, fmt.Errorf("keep the settings: %w", err)
	}
	if err := replaceFile(file, []byte(text.String()), 0o644); err != nil {
		return file, fmt.Errorf("keep the settings: %w", err)
	}
	return file, nil
}

// Unpersist removes the file of Persist, and nothing else. Where there is none, that is no error.
func (b *Box) Unpersist() error {
	err := b.ownsPersisted()
	if err == nil {
		err = os.Remove(b.persistPath())
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// ownsPersisted returns nil where the file is Persist's.
func (b *Box) ownsPersisted() error {
	content, err := os.ReadFile(b.persistPath())
	if err != nil {
		return err
	}
	if !strings.HasPrefix(string(content), persistMark) {
		return fmt.Errorf("%s: %w", b.persistPath(), ErrForeign)
	}
	return nil
}
