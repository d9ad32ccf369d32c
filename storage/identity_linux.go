package storage

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// openThis opens what has the name itself: no link is followed, and no pipe
// waited for.
const openThis = unix.O_NOFOLLOW | unix.O_NONBLOCK

// IdentifyFile tells which file f is.
func IdentifyFile(f *os.File) (FileID, error) {
	return statx(int(f.Fd()), "", f.Name(), unix.AT_EMPTY_PATH)
}

// IdentifyPath tells which file stands at the path. A symbolic link in the
// last place is not followed, but is itself the file.
func IdentifyPath(path string) (FileID, error) {
	return statx(unix.AT_FDCWD, path, path, unix.AT_SYMLINK_NOFOLLOW)
}

// statx asks for a file relative to the descriptor fd; name is for messages.
// statx(2).
func statx(fd int, path, name string, flags int) (FileID, error) {
	var st unix.Statx_t
	err := Uninterrupted(func() error { return unix.Statx(fd, path, flags, unix.STATX_INO|unix.STATX_BTIME, &st) })
	if err != nil {
		return FileID{}, fmt.Errorf("identify %s: %w", name, os.NewSyscallError("statx", err))
	}
	id := FileID{Device: unix.Mkdev(st.Dev_major, st.Dev_minor), Inode: st.Ino}
	if st.Mask&unix.STATX_BTIME != 0 {
		id.Birth = st.Btime.Sec*int64(time.Second) + int64(st.Btime.Nsec)
	}
	return id, nil
}
