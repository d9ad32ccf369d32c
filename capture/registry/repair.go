package registry

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/save"
	"pcapctl/storage"
)

// guardWait is for how long repair waits for a guard, which cuts the file of a
// killed process and brings it to the disk.
const guardWait = 300 * time.Millisecond

// repair cuts the capture file made, which the session created at path, behind
// its last complete record, if the guard was killed as well and could not do it.
// It tells what is in the file then; known is what the session last said of it.
// final is false while another process has the file, so that it may change.
func repair(path string, made storage.FileID, known save.Written) (kept save.Written, final bool) {
	file, err := os.OpenFile(path, os.O_RDWR|openSafely, 0)
	if err != nil {
		// Who may not write to the file may not repair it, another user perhaps
		// may. Who reads it may keep others from writing, on Windows. Of a file that is gone nothing more will be known.
		return known, !errors.Is(err, fs.ErrPermission) && !storage.IsBusy(err)
	}
	defer func() { _ = file.Close() }()
	// There may be another file of that name by now.
	if id, err := storage.IdentifyFile(file); err != nil || id != made {
		return known, true
	}
	for deadline := time.Now().Add(guardWait); ; time.Sleep(retryEvery) {
		if written, err := storage.Writers(file); err != nil || !written {
			break // with an error the file system has no locks, so that the writer had none
		}
		if time.Now().After(deadline) {
			return known, false
		}
	}
	return cut(file, known)
}

// cut cuts the file behind its last complete record. What is known to be written
// is not read again, unless the file is shorter because the machine went down.
func cut(file *os.File, known save.Written) (kept save.Written, final bool) {
	st, err := file.Stat()
	if err != nil {
		return known, false
	}
	start, whole := formatOf(file)
	if whole == nil {
		return cutCompressed(file, st.Size(), known)
	}
	if st.Size() < known.Size || known.Size < start {
		// Records that a spool has given back to the disk cannot be counted.
		if given, err := storage.Given(file); err != nil || given > 0 {
			known.Size = st.Size()
			return known, true
		}
		known = save.Written{Size: start}
	}
	if st.Size() <= known.Size {
		known.Size = st.Size()
		return known, true
	}
	kept, err = count(file, known, whole)
	if err != nil {
		return known, false
	}
	if kept.Size < st.Size() {
		if err := errors.Join(file.Truncate(kept.Size), file.Sync()); err != nil {
			return kept, false
		}
	}
	return kept, true
}

// cutCompressed cuts a compressed file where it is known to be complete. What is
// behind that could only be told by decompressing all of it. Of a file of a
// rotation nothing is known, and it stays as it is: readers read what they can.
func cutCompressed(file *os.File, size int64, known save.Written) (kept save.Written, final bool) {
	if known.Size > 0 && size > known.Size {
		return known, errors.Join(file.Truncate(known.Size), file.Sync()) == nil
	}
	known.Size = size
	return known, true
}

// countWhole counts the complete records or blocks at the start of some bytes:
// their packets, the packets' bytes, and their size in the file.
type countWhole func([]byte) (packets, data, size int)

// formatOf tells at which offset the records or blocks of a file begin, and how
// to count them. A pcapng file is blocks from its first byte on. The function is
// nil for a compressed file.
func formatOf(file io.ReaderAt) (start int64, whole countWhole) {
	var magic [4]byte
	_, err := file.ReadAt(magic[:], 0)
	switch {
	case err == nil && pcapfile.IsNG(magic):
		return 0, pcapfile.WholeNG
	case string(magic[:2]) == "\x1f\x8b", string(magic[:]) == "\x28\xb5\x2f\xfd":
		return 0, nil
	}
	return pcapfile.HeaderLen, func(b []byte) (packets, data, size int) {
		packets, size = pcapfile.Whole(b)
		return packets, size - packets*pcapfile.RecordHeaderLen, size
	}
}

// count adds to w the complete records or blocks that are behind it.
func count(file io.ReaderAt, w save.Written, whole countWhole) (save.Written, error) {
	buf := make([]byte, 1<<20) // more than the longest record
	for {
		n, err := file.ReadAt(buf, w.Size)
		if err != nil && !errors.Is(err, io.EOF) {
			return w, err
		}
		packets, data, size := whole(buf[:n])
		if size == 0 {
			return w, nil
		}
		w.Packets += uint64(packets)
		w.Bytes += uint64(data)
		w.Size += int64(size)
	}
}
