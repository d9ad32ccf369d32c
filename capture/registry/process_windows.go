package registry

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/windows"
)

// process is a process by its handle, which never means a later process that was given the same id.
type process struct {
	pid    int
	handle windows.Handle // 0 for unknownProcess
	note   note
}

// unknownProcess is one that cannot be opened, or is not there.
var unknownProcess = process{}

// errUnnamed is the error for a process that nothing tells of: the lock file has been overwritten.
var errUnnamed = errors.New("nothing tells which process holds it")

// openProcess opens the process that a note names. The error is os.ErrProcessDone when it has ended, be there a later one
// of the same id or not.
func openProcess(n note) (process, error) {
	if n.pid == 0 {
		return unknownProcess, errUnnamed
	}
	h, err := openID(n.pid)
	switch {
	case errors.Is(err, windows.ERROR_INVALID_PARAMETER): // no process of that id
		return unknownProcess, os.ErrProcessDone
	case err != nil:
		return unknownProcess, os.NewSyscallError("OpenProcess", err)
	}
	p := process{pid: int(n.pid), handle: h, note: n}
	switch created, err := createdAt(h); {
	case err != nil:
		p.close()
		return unknownProcess, err
	case created != n.created:
		p.close()
		return unknownProcess, os.ErrProcessDone
	}
	return p, nil
}

// openID opens a process to ask what it is and to wait for its end. Processes of other users are closed to administrators, too, until
// they make use of a privilege of theirs.
func openID(pid uint32) (windows.Handle, error) {
	const access = windows.PROCESS_QUERY_LIMITED_INFORMATION | windows.SYNCHRONIZE
	h, err := windows.OpenProcess(access, false, pid)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) && isSuper() && seeAll() == nil {
		h, err = windows.OpenProcess(access, false, pid)
	}
	return h, err
}

// seeAll switches SeDebugPrivilege on, which administrators have and which is off at first.
var seeAll = sync.OnceValue(func() error {
	var token windows.Token
	if err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ADJUST_PRIVILEGES|windows.TOKEN_QUERY, &token); err != nil {
		return os.NewSyscallError("OpenProcessToken", err)
	}
	defer func() { _ = token.Close() }()
	name, err := windows.UTF16PtrFromString("SeDebugPrivilege")
	if err != nil {
		return err
	}
	on := windows.Tokenprivileges{PrivilegeCount: 1}
	on.Privileges[0].Attributes = windows.SE_PRIVILEGE_ENABLED
	if err := windows.LookupPrivilegeValue(nil, name, &on.Privileges[0].Luid); err != nil {
		return os.NewSyscallError("LookupPrivilegeValue", err)
	}
	return os.NewSyscallError("AdjustTokenPrivileges", windows.AdjustTokenPrivileges(token, false, &on, 0, nil, nil))
})

// createdAt is when a process was made, 100 ns since 1601. Setting the clock does not change it.
func createdAt(h windows.Handle) (uint64, error) {
	var created, exited, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(h, &created, &exited, &kernel, &user); err != nil {
		return 0, os.NewSyscallError("GetProcessTimes", err)
	}
	return uint64(created.HighDateTime)<<32 | uint64(created.LowDateTime), nil
}

// holdingProcess opens the process that holds the session. It is unknownProcess when no process does, and when alive is
// true with an error: then one does that cannot be opened.
func holdingProcess(f *os.File) (_ process, alive bool, err error) {
	for {
		_, alive, err := holder(f)
		if err != nil || !alive {
			return unknownProcess, false, err
		}
		n := noteOf(f)
		p, err := openProcess(n)
		if err == nil {
			return p, true, nil
		}
		if _, alive, err2 := holder(f); err2 != nil || !alive {
			return unknownProcess, false, err2 // it has just ended
		}
		if noteOf(f) != n {
			continue
		}
		if errors.Is(err, os.ErrProcessDone) {
			err = errUnnamed // the lock is held by another one
		}
		return unknownProcess, true, err
	}
}

// terminate tells the process to end the session. That it has ended already is not an error.
func (p process) terminate() error {
	is, err := p.facts()
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	return ask(p.note.token, is.owners[0])
}

// pollable tells whether waitExit can wait for the process.
func (p process) pollable() bool { return p.handle != 0 }

// waitExit waits for the end of the process, for at most d.
func (p process) waitExit(d time.Duration) {
	if event, err := windows.WaitForSingleObject(p.handle, uint32(d.Milliseconds())); err != nil || event == windows.WAIT_OBJECT_0 {
		time.Sleep(time.Millisecond) // Windows may need a moment to drop the locks of a process
	}
}

func (p process) close() {
	if p.handle != 0 {
		_ = windows.CloseHandle(p.handle)
	}
}

// facts are what Windows says of a process.
type facts struct {
	command string    // its program, without the folder
	owners  []account // whose it is, twice: the user, and whom it acts as, which other systems tell apart
	inner   int       // its id
}

// facts asks for them. The error is os.ErrProcessDone when the process has ended.
func (p process) facts() (facts, error) {
	f := facts{command: "its name is not known", inner: p.pid}
	var buf [windows.MAX_LONG_PATH]uint16
	size := uint32(len(buf))
	if windows.QueryFullProcessImageName(p.handle, 0, &buf[0], &size) == nil {
		f.command = filepath.Base(windows.UTF16ToString(buf[:size]))
	}
	owner, err := ownerOf(p.handle)
	if !p.exists() {
		return facts{}, os.ErrProcessDone
	}
	f.owners = []account{owner, owner}
	return f, err
}

// ownerOf is the user of a process.
func ownerOf(h windows.Handle) (account, error) {
	var token windows.Token
	if err := windows.OpenProcessToken(h, windows.TOKEN_QUERY, &token); err != nil {
		return "", os.NewSyscallError("OpenProcessToken", err)
	}
	defer func() { _ = token.Close() }()
	user, err := token.GetTokenUser()
	if err != nil {
		return "", os.NewSyscallError("GetTokenInformation", err)
	}
	return account(user.User.Sid.String()), nil
}

// exists tells whether the process has not ended.
func (p process) exists() bool {
	event, err := windows.WaitForSingleObject(p.handle, 0)
	return err != nil || event != windows.WAIT_OBJECT_0
}

// holdsSomeSession tells whether a process may hold a session, for one whose lock file has no name any more and cannot be
// asked: it runs this program.
func holdsSomeSession(pid int) bool {
	h, err := openID(uint32(pid))
	if err != nil {
		return false
	}
	p := process{pid: pid, handle: h}
	defer p.close()
	is, err := p.facts()
	own, oerr := os.Executable()
	return err == nil && oerr == nil && is.command == filepath.Base(own)
}
