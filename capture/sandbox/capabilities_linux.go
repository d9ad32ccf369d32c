package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// capabilities is a set of them, one bit for each. capabilities(7).
type capabilities uint64

func setOf(capability int) capabilities { return 1 << capability }

// names are those of the capabilities that this program ever keeps.
func (c capabilities) names() []string {
	list := []string{}
	for capability := range 64 {
		switch {
		case c&setOf(capability) == 0:
		case capability == unix.CAP_DAC_OVERRIDE:
			list = append(list, "CAP_DAC_OVERRIDE")
		default:
			list = append(list, fmt.Sprintf("capability %d", capability))
		}
	}
	return list
}

// capabilityData is the argument of capget(2) and capset(2): version 3 has two
// words of 32 capabilities.
type capabilityData [2]unix.CapUserData

func header() *unix.CapUserHeader {
	return &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
}

// current are the capabilities of the calling thread. On a kernel that does not
// tell, there are none.
func current() (data capabilityData) {
	if unix.Capget(header(), &data[0]) != nil {
		return capabilityData{}
	}
	return data
}

func permitted() capabilities {
	d := current()
	return capabilities(d[0].Permitted) | capabilities(d[1].Permitted)<<32
}

func effective() capabilities {
	d := current()
	return capabilities(d[0].Effective) | capabilities(d[1].Effective)<<32
}

func inheritable() capabilities {
	d := current()
	return capabilities(d[0].Inheritable) | capabilities(d[1].Inheritable)<<32
}

func ambientSet() (set capabilities) {
	for capability := 0; ; capability++ {
		has, err := unix.PrctlRetInt(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, uintptr(capability), 0, 0)
		if err != nil {
			return set // behind the last one, or a kernel without ambient capabilities
		}
		if has == 1 {
			set |= setOf(capability)
		}
	}
}

// dataOf has a permitted set that is effective as well, but for root who has the
// rights of another user for a time: the kernel makes it effective when he is root
// again. capabilities(7), "Effect of user ID changes on capabilities".
func dataOf(permitted, inheritable capabilities) (data capabilityData) {
	for word := range data {
		data[word].Permitted = uint32(permitted >> (32 * word))
		if os.Getuid() != 0 || os.Geteuid() == 0 {
			data[word].Effective = data[word].Permitted
		}
		data[word].Inheritable = uint32(inheritable >> (32 * word))
	}
	return data
}

// setCapabilities sets the permitted, effective and inheritable sets of all
// threads. The kernel takes from the ambient set what is in one of the others no
// longer.
func setCapabilities(permitted, inheritable capabilities) error {
	h, data := header(), dataOf(permitted, inheritable)
	err := allThreads("capset", unix.SYS_CAPSET, uintptr(unsafe.Pointer(h)), uintptr(unsafe.Pointer(&data[0]))) //nolint:gosec // G103: the call's arguments
	runtime.KeepAlive(h)
	runtime.KeepAlive(&data)
	return err
}

// dropBounding empties the bounding set but for some, for which CAP_SETPCAP is needed: a user
// without it keeps the set, which means nothing with no_new_privs.
func dropBounding(but capabilities) error {
	if effective()&setOf(unix.CAP_SETPCAP) == 0 {
		return nil
	}
	for capability := range uintptr(64) {
		// The error is for one behind the last that there is.
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, capability, 0, 0, 0); err != nil || has == 0 || but&setOf(int(capability)) != 0 {
			continue
		}
		if err := allThreads("prctl PR_CAPBSET_DROP", unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, capability); err != nil {
			return err
		}
	}
	return nil
}

// needsOverride tells whether the process could not go on without CAP_DAC_OVERRIDE,
// which it has: only by that may root write into a folder of another user.
func (p *Policy) needsOverride() bool {
	if effective()&setOf(unix.CAP_DAC_OVERRIDE) == 0 {
		return false
	}
	// The kernel alone knows of owners, lists and network file systems. So it is
	// asked by a thread that has the capability no more, for a moment.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := current()
	without := before
	for word := range without {
		without[word].Effective = 0
	}
	if unix.Capset(header(), &without[0]) != nil {
		return true
	}
	suffices := true
	for _, f := range p.Folders {
		suffices = suffices && f.suffices()
	}
	if err := unix.Capset(header(), &before[0]); err != nil {
		panic("the capabilities of a thread could not be set as they were: " + err.Error())
	}
	return !suffices
}

// suffices tells whether the rights of the user are enough, by the effective ids
// and capabilities of the calling thread. faccessat2(2) is of Linux 5.8; without it
// they are taken not to be.
func (f *Folder) suffices() bool {
	mode := uint32(unix.R_OK | unix.X_OK)
	if f.Changes {
		mode |= unix.W_OK
	}
	err := uninterrupted(func() error { return unix.Faccessat2(unix.AT_FDCWD, f.Path, mode, unix.AT_EACCESS) })
	// A folder on a disk that is read only is no better with a capability.
	return err == nil || !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.ENOSYS)
}
