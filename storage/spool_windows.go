package storage

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"
)

// punch makes a hole: the file becomes a sparse one, and what is set to zeros then takes no space (FSCTL_SET_SPARSE,
// FSCTL_SET_ZERO_DATA). NTFS gives back whole units of 64 KiB, as a spool does (spoolHead).
func punch(f *os.File, offset, length int64) error {
	return control(f, func(h windows.Handle) error {
		if err := ioctl(h, windows.FSCTL_SET_SPARSE, nil, nil, nil); err != nil {
			return noHoles("FSCTL_SET_SPARSE", err)
		}
		span := [2]int64{offset, offset + length} // FILE_ZERO_DATA_INFORMATION: from, and the end
		return noHoles("FSCTL_SET_ZERO_DATA", ioctl(h, windows.FSCTL_SET_ZERO_DATA, asBytes(&span), nil, nil))
	})
}

// noHoles names what failed, and brings the answers of file systems without sparse files (FAT, exFAT, shares, Wine) to one.
func noHoles(call string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, windows.ERROR_INVALID_FUNCTION), errors.Is(err, windows.ERROR_NOT_SUPPORTED), errors.Is(err, windows.ERROR_CALL_NOT_IMPLEMENTED),
		errors.Is(err, windows.ERROR_INVALID_PARAMETER):
		return fmt.Errorf("%s: %w: %w", call, errors.ErrUnsupported, err)
	}
	return os.NewSyscallError(call, err)
}

func ioctl(h windows.Handle, code uint32, in, out []byte, n *uint32) error {
	var got uint32
	if n == nil {
		n = &got
	}
	return windows.DeviceIoControl(h, code, unsafe.SliceData(in), uint32(len(in)), unsafe.SliceData(out), uint32(len(out)), n, nil)
}

func asBytes(span *[2]int64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(span)), unsafe.Sizeof(*span))
}

// holeEnd is where the hole ends that begins at offset, 0 when none begins there. FSCTL_QUERY_ALLOCATED_RANGES tells where a file has
// data; a file system without sparse files does not know it.
func holeEnd(f *os.File, offset int64) (end int64, err error) {
	st, err := f.Stat()
	if err != nil || st.Size() <= offset {
		return 0, err
	}
	err = control(f, func(h windows.Handle) error {
		asked := [2]int64{offset, st.Size() - offset} // FILE_ALLOCATED_RANGE_BUFFER: from, and how much
		var first [2]int64
		var n uint32
		err := ioctl(h, windows.FSCTL_QUERY_ALLOCATED_RANGES, asBytes(&asked), asBytes(&first), &n)
		if err != nil && !errors.Is(err, windows.ERROR_MORE_DATA) {
			if err := noHoles("FSCTL_QUERY_ALLOCATED_RANGES", err); !errors.Is(err, errors.ErrUnsupported) {
				return err
			}
			return nil
		}
		switch {
		case n == 0: // nothing but the hole up to the end
			end = st.Size()
		case first[0] > offset:
			end = first[0]
		}
		return nil
	})
	return end, err
}

// space is what the file system of f has: free bytes for us, and all.
func space(f *os.File) (free, total int64, ok bool) {
	path, err := linkOf(f)
	if err != nil {
		return 0, 0, false
	}
	if st, err := f.Stat(); err != nil || !st.IsDir() {
		path = filepath.Dir(path)
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, 0, false
	}
	var mine, all uint64
	if err := windows.GetDiskFreeSpaceEx(name, &mine, &all, nil); err != nil {
		return 0, 0, false
	}
	return int64(min(mine, math.MaxInt64)), int64(min(all, math.MaxInt64)), true
}
