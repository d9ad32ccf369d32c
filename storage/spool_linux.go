package storage

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// punch makes a hole. fallocate(2).
func punch(f *os.File, offset, length int64) error {
	return os.NewSyscallError("fallocate", Uninterrupted(func() error {
		return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, offset, length)
	}))
}

// holeEnd is where the hole ends that begins at offset, 0 when none begins
// there. lseek(2).
func holeEnd(f *os.File, offset int64) (int64, error) {
	st, err := f.Stat()
	if err != nil || st.Size() <= offset {
		return 0, err
	}
	fd := int(f.Fd())
	hole, err := unix.Seek(fd, offset, unix.SEEK_HOLE)
	switch {
	case errors.Is(err, unix.EINVAL): // a file system that does not report holes
		return 0, nil
	case err != nil:
		return 0, os.NewSyscallError("lseek SEEK_HOLE", err)
	case hole != offset:
		return 0, nil
	}
	data, err := unix.Seek(fd, offset, unix.SEEK_DATA)
	if errors.Is(err, unix.ENXIO) { // nothing but the hole up to the end
		return st.Size(), nil
	}
	return data, os.NewSyscallError("lseek SEEK_DATA", err)
}

// space is what the file system of f has: free bytes for us, and all.
func space(f *os.File) (free, total int64, ok bool) {
	var st unix.Statfs_t
	if err := Uninterrupted(func() error { return unix.Fstatfs(int(f.Fd()), &st) }); err != nil || st.Bsize <= 0 {
		return 0, 0, false
	}
	bytes := func(blocks uint64) int64 {
		if blocks > math.MaxInt64/uint64(st.Bsize) {
			return math.MaxInt64
		}
		return int64(blocks) * st.Bsize
	}
	return bytes(st.Bavail), bytes(st.Blocks), true
}
