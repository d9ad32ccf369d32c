package registry

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pcapctl/storage"
)

// process is a process by its descriptor, which never means a later process that
// was given the same id.
type process struct {
	pid int
	fd  int // pidfd_open(2), -1 on a kernel without it
}

// unknownProcess is one that cannot be opened, or is not there.
var unknownProcess = process{fd: -1}

// errElsewhere is the error for a process in another process namespace.
var errElsewhere = errors.New("it is held by a process in another container; do it there")

// holdingProcess opens the process that holds the session. It is unknownProcess
// when no process does, and when alive is true with an error: then one does that
// cannot be opened.
func holdingProcess(f *os.File) (_ process, alive bool, err error) {
	for {
		pid, alive, err := holder(f)
		if err != nil || !alive {
			return unknownProcess, false, err
		}
		if pid <= 0 {
			return unknownProcess, true, errElsewhere
		}
		p := process{pid: pid, fd: -1}
		p.fd, err = unix.PidfdOpen(pid, 0)
		if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			if errors.Is(err, unix.ESRCH) {
				continue // it has just ended
			}
			return unknownProcess, true, os.NewSyscallError("pidfd_open", err)
		}
		// The id was the holder's before the process was opened. If it still is,
		// it was so in between, because no process takes the lock of a session a
		// second time. So the process that was opened is the holder.
		again, alive, err := holder(f)
		if err == nil && alive && again == pid {
			return p, true, nil
		}
		p.close()
		if err != nil || !alive {
			return unknownProcess, false, err
		}
	}
}

// terminate sends SIGTERM. That the process has ended already is not an error.
func (p process) terminate() error {
	var err error
	if p.fd < 0 {
		// Before Linux 5.3 there are only ids. This one was the holder's a moment
		// ago, and the kernel gives an id again only after all the others.
		err = unix.Kill(p.pid, unix.SIGTERM)
	} else {
		err = unix.PidfdSendSignal(p.fd, unix.SIGTERM, nil, 0)
	}
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// pollable tells whether waitExit can wait for the process.
func (p process) pollable() bool { return p.fd >= 0 }

// waitExit waits for the end of the process, for at most d.
func (p process) waitExit(d time.Duration) {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d.Milliseconds()))
	if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
		// The descriptor is readable when the last thread begins to exit. The
		// kernel drops the lock a little later, with the open files.
		time.Sleep(time.Millisecond)
	}
}

func (p process) close() {
	if p.fd >= 0 {
		_ = unix.Close(p.fd)
	}
}

// facts are what the kernel says of a process. proc_pid_status(5).
type facts struct {
	command string    // its name, as the process itself has set it
	owners  []account // user ids: real, effective, saved, of the file system
	inner   int       // its id in its own process namespace
	state   string    // such as "S (sleeping)" or "T (stopped)"
}

// facts asks for them. The error is os.ErrProcessDone when the process has ended.
func (p process) facts() (facts, error) {
	text, err := p.status()
	// The id could be that of a later process: not if this one is there still. Of one
	// that ends meanwhile the file is missing, or cannot be read (ESRCH).
	if !p.exists() {
		return facts{}, os.ErrProcessDone
	}
	if err != nil {
		return facts{}, err
	}
	f := facts{inner: p.pid}
	for line := range bytes.Lines(text) {
		key, value, _ := strings.Cut(string(bytes.TrimSpace(line)), ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Name":
			f.command = value
		case "State":
			f.state = value
		case "Uid":
			for id := range strings.FieldsSeq(value) {
				n, err := strconv.Atoi(id)
				if err != nil {
					return facts{}, err
				}
				f.owners = append(f.owners, n)
			}
		case "NSpid": // from our namespace to its own; absent before Linux 4.1
			if n, err := strconv.Atoi(value[strings.LastIndexByte(value, '\t')+1:]); err == nil {
				f.inner = n
			}
		}
	}
	if len(f.owners) != 4 {
		return facts{}, errors.New("it does not say whose process it is")
	}
	return f, nil
}

func (p process) status() ([]byte, error) {
	file, err := os.Open(fmt.Sprintf("/proc/%d/status", p.pid))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	const most = 64 << 10 // a name, some fifty numbers, a bit for each processor
	return io.ReadAll(io.LimitReader(file, most))
}

// exists tells whether the process has not ended. When that cannot be asked, it is
// taken to be there: who stops it would else wait for an end that nobody told it of.
func (p process) exists() bool {
	if p.fd < 0 {
		return !errors.Is(unix.Kill(p.pid, 0), unix.ESRCH)
	}
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	var n int
	// A signal interrupts a poll that does not wait, too (do_poll), and the Go runtime
	// sends them all the time.
	err := storage.Uninterrupted(func() (err error) {
		n, err = unix.Poll(fds, 0)
		return err
	})
	return err != nil || n == 0
}
