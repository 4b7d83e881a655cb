package tuning

import (
	"errors"
	"io/fs"
	"syscall"
)

// Errno is the name of a kernel's refusal, such as "EROFS"; empty: there was none. It is a name and not a number because
// plans and state files are read by people.
type Errno string

// The refusals that have a sentence of their own.
const (
	EACCES     Errno = "EACCES"
	EPERM      Errno = "EPERM"
	EROFS      Errno = "EROFS"
	ENOENT     Errno = "ENOENT"
	EINVAL     Errno = "EINVAL"
	EIO        Errno = "EIO"
	EBUSY      Errno = "EBUSY"
	ENODEV     Errno = "ENODEV"
	EOPNOTSUPP Errno = "EOPNOTSUPP"
	ERANGE     Errno = "ERANGE"
)

var errnoNames = map[syscall.Errno]Errno{
	syscall.EACCES: EACCES, syscall.EPERM: EPERM, syscall.EROFS: EROFS, syscall.ENOENT: ENOENT, syscall.EINVAL: EINVAL,
	syscall.EIO: EIO, syscall.EBUSY: EBUSY, syscall.ENODEV: ENODEV, syscall.EOPNOTSUPP: EOPNOTSUPP, syscall.ERANGE: ERANGE,
	syscall.ENXIO: ENODEV,
}

// errnoOf returns the refusal in err; what has no name is given by its text.
func errnoOf(err error) Errno {
	if err == nil {
		return ""
	}
	var number syscall.Errno
	if !errors.As(err, &number) {
		if errors.Is(err, fs.ErrNotExist) {
			return ENOENT
		}
		return Errno(err.Error())
	}
	if name, ok := errnoNames[number]; ok {
		return name
	}
	return Errno(number.Error())
}

// atOpen says what a refusal means that comes before a value was offered.
func (e Errno) atOpen(k Kind) string {
	switch e {
	case EACCES, EPERM:
		switch k {
		case KindChannels, KindRings, KindCoalesce, KindOffload:
			return "not permitted: needs CAP_NET_ADMIN"
		case KindSysctl:
			return "not permitted: needs root, or the key belongs to the host and not to this network namespace"
		}
		return "not permitted: needs root"
	case EROFS:
		return "read-only here: a container, or a unit with ProtectKernelTunables=yes"
	case ENOENT:
		if k == KindSysctl {
			return "not available here: the host's key in a namespace, a module that is not loaded, or another kernel"
		}
		return "not available here"
	case ENODEV:
		return "the device is gone"
	case EOPNOTSUPP:
		return "the driver has no such setting"
	}
	return "cannot be opened: " + string(e)
}

// atWrite says what a refusal of the value means.
func (e Errno) atWrite(k Kind, value string) string {
	switch e {
	case ENOENT:
		return "the kernel knows no " + value + ": its module is missing"
	case EINVAL, ERANGE:
		return "the kernel does not take " + value + ": out of its range"
	case EPERM:
		if k == KindSysctl {
			return value + " is not allowed in this network namespace"
		}
	case EIO:
		if k == KindIRQ {
			return "this interrupt cannot be moved: the kernel manages where it goes"
		}
	case EBUSY:
		return "the device is busy: part of the setting is in use"
	case EOPNOTSUPP:
		return "the driver cannot set this"
	case EACCES, EROFS, ENODEV:
		return e.atOpen(k)
	}
	return "the kernel refuses " + value + ": " + string(e)
}
