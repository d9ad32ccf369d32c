package save

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pipeSize is how much of a stream may be in a pipe, in bytes: the most that everybody may ask for. A larger pipe wakes
// its reader less often.
const pipeSize = 1 << 20

// pipeBuf is PIPE_BUF of limits.h: a pipe that can be written to takes so many bytes at once. pipe(7).
const pipeBuf = 4096

// outlet writes to a descriptor without ever waiting in write(2), which nobody could break off.
type outlet struct {
	fd    int
	own   bool // fd was opened here
	piece int  // bytes of a write
	send  bool // it is a socket
}

// openOutlet implements OpenOutlet. Whether a descriptor waits is a property of the open file, which others may share, as
// the shell that has started the program. So a pipe is opened once more, for this process alone.
func openOutlet(f *os.File) (Outlet, error) {
	fd := int(f.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil, fmt.Errorf("%s is not open for writing", f.Name())
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFIFO:
		o := &outlet{fd: fd, piece: pipeBuf} // so much is taken at once when poll(2) says that there is room
		again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_WRONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err == nil { // not so for a pipe of another user, where /proc is absent, and when the reader has left
			o.fd, o.own, o.piece = again, true, pipeSize
		}
		if size, err := unix.FcntlInt(uintptr(o.fd), unix.F_GETPIPE_SZ, 0); err == nil && size < pipeSize {
			_, _ = unix.FcntlInt(uintptr(o.fd), unix.F_SETPIPE_SZ, pipeSize) // else it stays as it is
		}
		return o, nil
	case unix.S_IFSOCK:
		return &outlet{fd: fd, piece: pipeSize, send: true}, nil
	}
	return plainOutlet{f}, nil
}

// Write implements Outlet.
func (o *outlet) Write(b []byte, wait time.Duration) (int, error) {
	fds := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLOUT}}
	if _, err := unix.Poll(fds, int(wait.Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
		return 0, os.NewSyscallError("poll", err)
	}
	if left(fds[0].Revents) {
		return 0, ErrReaderLeft
	}
	if fds[0].Revents&unix.POLLOUT == 0 {
		return 0, nil
	}
	b = b[:min(len(b), o.piece)]
	var n int
	var err error
	if o.send {
		n, err = unix.SendmsgN(o.fd, b, nil, nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	} else {
		n, err = unix.Write(o.fd, b)
	}
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
		return 0, nil
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return 0, ErrReaderLeft
	}
	return 0, os.NewSyscallError("write", err)
}

// left tells by poll(2) that a pipe has no reader any more, or that the other end of a socket is closed.
func left(revents int16) bool { return revents&(unix.POLLERR|unix.POLLHUP) != 0 }

// Left implements Outlet.
func (o *outlet) Left() bool {
	fds := []unix.PollFd{{Fd: int32(o.fd)}}
	_, err := unix.Poll(fds, 0)
	return err == nil && left(fds[0].Revents)
}

// Close implements Outlet.
func (o *outlet) Close() error {
	if !o.own {
		return nil
	}
	return os.NewSyscallError("close", unix.Close(o.fd))
}
