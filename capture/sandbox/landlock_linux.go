package sandbox

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The rights that Landlock knows, by the version of its interface that brought
// them. landlock(7).
const (
	readRights  = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_READ_DIR
	writeRights = readRights | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_DIR
	// fileRights are those that a rule for something other than a folder may have.
	fileRights = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_READ_FILE |
		unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV

	firstRights = unix.LANDLOCK_ACCESS_FS_MAKE_SYM<<1 - 1 // all of version 1

	versionRefer, versionTruncate, versionNet, versionIoctl, versionScope = 2, 3, 4, 5, 6
)

const (
	ruleNetPort = 2 // LANDLOCK_RULE_NET_PORT
	noFlags     = 0
)

// netPort is struct landlock_net_port_attr.
type netPort struct {
	allowed, port uint64
}

// landlockVersion is that of the kernel, 0 for one without Landlock.
func landlockVersion() int {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0 // not built in, or turned off at the start of the machine
	}
	return int(version)
}

// handled are the rights that the process has by rules only from now on.
func (p *Policy) handled(version int) (attr unix.LandlockRulesetAttr) {
	if !p.Programs {
		attr.Handled_access_fs = firstRights
		for _, right := range []struct {
			since int
			right uint64
		}{
			{versionRefer, unix.LANDLOCK_ACCESS_FS_REFER},
			{versionTruncate, unix.LANDLOCK_ACCESS_FS_TRUNCATE},
			{versionIoctl, unix.LANDLOCK_ACCESS_FS_IOCTL_DEV},
		} {
			if version >= right.since {
				attr.Handled_access_fs |= right.right
			}
		}
	}
	if version >= versionNet {
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
		if len(p.Ports) == 0 { // a connection of ours is bound to a port that is kept from others
			attr.Handled_access_net |= unix.LANDLOCK_ACCESS_NET_BIND_TCP
		}
	}
	// The service manager may have its socket there. sd_notify(3). Signals are the
	// filter's: each thread is in a domain of its own, and a capture ends its guard.
	if version >= versionScope && !p.Programs && !strings.HasPrefix(os.Getenv("NOTIFY_SOCKET"), "@") {
		attr.Scoped |= unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET
	}
	return attr
}

// landlock confines all threads, each in a domain of its own with the same rules.
func (p *Policy) landlock() (version int, err error) {
	if version = landlockVersion(); version == 0 {
		return 0, unix.ENOSYS
	}
	attr := p.handled(version)
	ruleset, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), noFlags) //nolint:gosec // G103: the call's argument
	if errno != 0 {
		return 0, os.NewSyscallError("landlock_create_ruleset", errno)
	}
	defer func() { _ = unix.Close(int(ruleset)) }()
	if attr.Handled_access_fs != 0 {
		for _, f := range p.Folders {
			err = errors.Join(err, allowPath(ruleset, f.Path, writeRights&attr.Handled_access_fs))
		}
		for _, path := range p.Emptied {
			err = errors.Join(err, allowPath(ruleset, path, unix.LANDLOCK_ACCESS_FS_REMOVE_DIR))
		}
		for _, path := range p.Discards {
			err = errors.Join(err, allowPath(ruleset, path, unix.LANDLOCK_ACCESS_FS_REMOVE_FILE))
		}
		readable := append([]string{"/proc/self"}, p.Readable...)
		if len(p.Ports) > 0 {
			readable = append(readable, networkFiles()...)
		}
		for _, path := range readable {
			err = errors.Join(err, allowPath(ruleset, path, readRights))
		}
	}
	if attr.Handled_access_net != 0 {
		for _, port := range p.Ports {
			rule := netPort{unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, uint64(port)}
			err = errors.Join(err, addRule(ruleset, ruleNetPort, unsafe.Pointer(&rule))) //nolint:gosec // G103: the call's argument
		}
	}
	if err != nil {
		return 0, err
	}
	return version, allThreads("landlock_restrict_self", unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, noFlags)
}

// allowPath gives rights to a file or to a folder with all that is below it.
func allowPath(ruleset uintptr, path string, rights uint64) error {
	var fd int
	err := uninterrupted(func() (err error) {
		fd, err = unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		return err
	})
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.EACCES):
		return nil // what is not there now, or cannot be reached by this user, needs no rule
	case err != nil:
		// Without its rule, the process could not do what it must: rather no Landlock.
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := uninterrupted(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return os.NewSyscallError("fstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		rights &= fileRights
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	return addRule(ruleset, unix.LANDLOCK_RULE_PATH_BENEATH, unsafe.Pointer(&rule)) //nolint:gosec // G103: the call's argument
}

func addRule(ruleset, kind uintptr, rule unsafe.Pointer) error {
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, ruleset, kind, uintptr(rule), noFlags, 0, 0); errno != 0 {
		return os.NewSyscallError("landlock_add_rule", errno)
	}
	return nil
}

// networkFiles are what name lookup, TLS and local time read: of Go's own
// resolver (net), crypto/x509 and time.
func networkFiles() []string {
	list := []string{
		"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/services", "/etc/protocols", "/etc/mdns.allow", "/etc/gai.conf",
		"/etc/localtime", "/usr/share/zoneinfo",
		"/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates", "/usr/share/pki",
		"/usr/local/share/certs", "/etc/openssl", "/var/lib/ca-certificates",
	}
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		list = append(list, file)
	}
	list = append(list, filepath.SplitList(os.Getenv("SSL_CERT_DIR"))...)
	// A rule is for the file that is there now. This one is replaced while a machine
	// runs, by a rename: so the folder that it is in, where that is a service's own, as
	// /run/systemd/resolve. /run or /etc would be too much.
	if target, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil {
		if folder := filepath.Dir(target); filepath.Dir(folder) != "/" {
			list = append(list, folder)
		}
	}
	return list
}
