package storage

import (
	"os"

	"golang.org/x/sys/unix"
)

// openThis opens what has the name itself: no link is followed, and no pipe
// waited for.
const openThis = unix.O_NOFOLLOW | unix.O_NONBLOCK

// identity tells a file from all others, also from one that gets its inode when
// it is gone: a file's time of birth never changes. It is zero when it cannot
// be told.
type identity struct {
	major, minor uint32
	inode        uint64
	sec          int64
	nsec         uint32
}

// identify tells which file f is. statx(2).
func identify(f *os.File) identity {
	var st unix.Statx_t
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return identity{}
	}
	return identity{st.Dev_major, st.Dev_minor, st.Ino, st.Btime.Sec, st.Btime.Nsec}
}
