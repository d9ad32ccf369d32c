package netif

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process without capabilities may not see in which namespace those of other
// users are, and one that Landlock confines sees nobody's (ptrace(2),
// PTRACE_MODE_READ). So another process looks, which can do nothing else.

// followName is the name of that process in a list of processes.
const followName = "pcap-netns"

// followAnswer is the descriptor of its pipe's end.
const followAnswer = 1

// followEvery is how often it is looked whether a namespace is still there.
const followEvery = time.Second

// Follower is a process that looks for the end of a namespace.
type Follower struct {
	cmd  *exec.Cmd
	conn *os.File
}

// Follow starts the process. program is the path of the program to run, which must
// call FollowMain first of all in its main.
func (n *Namespace) Follow(program string) (*Follower, error) {
	socks, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(socks[1]), followName)
	defer func() { _ = theirs.Close() }()
	f := &Follower{conn: os.NewFile(uintptr(socks[0]), followName)}
	f.cmd = &exec.Cmd{
		Path:        program,
		Args:        []string{followName, n.path, strconv.FormatUint(n.id.device, 10), strconv.FormatUint(n.id.inode, 10)},
		Dir:         "/",
		Env:         []string{"GOMAXPROCS=1", "GOTRACEBACK=none"},
		Stdout:      theirs,
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := f.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the process that looks for the end of the network namespace: %w", err), f.conn.Close())
	}
	return f, nil
}

// ErrFollowerEnded means that nobody looks for the end of the namespace any more.
var ErrFollowerEnded = errors.New("the process that looks for the end of the network namespace has ended")

// Wait returns when the namespace has been deleted. The error is os.ErrClosed after
// Close, else ErrFollowerEnded.
func (f *Follower) Wait() error {
	n, err := f.conn.Read(make([]byte, 1))
	switch {
	case n == 1:
		return nil
	case errors.Is(err, os.ErrClosed):
		return os.ErrClosed
	}
	return ErrFollowerEnded
}

// Close ends the process, and a Wait that is under way. Calls after the first give
// os.ErrClosed.
func (f *Follower) Close() error {
	if err := f.conn.Close(); err != nil {
		return err
	}
	go func() { _ = f.cmd.Wait() }() // it ends when it looks next, at once as a rule
	return nil
}

// IsFollower tells whether this process was started by Follow.
func IsFollower() bool { return len(os.Args) == 4 && os.Args[0] == followName }

// FollowMain is the process that Follow starts. It looks until the namespace has
// been deleted or the other side is closed.
func FollowMain() {
	// A service manager signals every process of a unit. This one ends when the capture
	// does; before, that would be told as its failure.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	device, err1 := strconv.ParseUint(os.Args[2], 10, 64)
	inode, err2 := strconv.ParseUint(os.Args[3], 10, 64)
	if err1 != nil || err2 != nil {
		return
	}
	n := Namespace{path: os.Args[1], id: namespaceID{device, inode}, of: strconv.Itoa(os.Getppid())}
	for {
		fds := []unix.PollFd{{Fd: followAnswer}} // POLLHUP is always looked for
		if _, err := unix.Poll(fds, int(followEvery.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) || fds[0].Revents != 0 {
			return
		}
		if n.Gone() {
			_, _ = unix.Write(followAnswer, []byte{1})
			return
		}
	}
}
