package registry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/storage"
)

// settle finds out what a session came to whose process has ended without
// saying so, brings its capture file to end on a packet boundary, and writes
// the outcome down. Where that cannot be done, the answer is the same and
// nothing is changed.
func (f *folder) settle(rec *Record) *Record {
	l := f.live()
	// A folder of another user's is looked at by root and never acted on: what
	// it says could lead us to any file.
	if f.owner != os.Geteuid() {
		lost(rec, &l, l.Written)
		return rec
	}
	if ok, err := tryLock(f.lock, careByte); err != nil || !ok {
		lost(rec, &l, l.Written)
		return rec
	}
	defer unlock(f.lock, careByte)
	if now, err := f.record(); err == nil && now.Outcome != nil {
		return now // somebody else has just been here
	}
	kept, final := l.Written, true
	if list := f.places(rec); list != nil {
		var files []capture.FileResult
		files, kept.Packets, final = settleRing(list, l.Written)
		lost(rec, &l, kept)
		rec.Resource.Properties.Statistics.Files = files
		rec.Resource.Seal()
	} else {
		for _, path := range rec.files()[:min(1, len(rec.files()))] {
			kept, final = mend(path, l.file, l.Written)
		}
		lost(rec, &l, kept)
	}
	if final {
		_ = replace(f.root, nil, rec) // if not now, then next time
	}
	return rec
}

// lost makes rec the record of a session that was lost, with what is in its
// file.
func lost(rec *Record, l *live, kept capture.Written) {
	p := &rec.Resource.Properties
	p.ProvisioningState, p.PacketCaptureStatus = capture.StateFailed, capture.StatusError
	p.PacketCaptureError = []string{CodeAgentStopped}
	p.StopReason = CodeAgentStopped
	rec.Resource.SetStart(l.start)
	l.Packets, l.Bytes = kept.Packets, kept.Bytes
	l.fill(p.Statistics, kept.Size)
	if u := p.Statistics.Upload; u != nil {
		u.State = capture.UploadFailed
		next := rec.Name
		if ringCount(rec) > 0 {
			next = "FILE --storage-path URL"
		}
		u.Problem = fmt.Sprintf("the process that sent it ended before it was complete: `pcapctl upload %s` goes on with it", next)
	}
	rec.Resource.Seal()

	why := "was killed or has crashed"
	if boot := bootID(); boot != "" && rec.BootID != "" && boot != rec.BootID {
		why = "ended when the machine went down"
	}
	what := "it had not begun to capture"
	if !l.start.IsZero() {
		what = fmt.Sprintf("what it had written is readable, in %s", rec.Where())
	}
	rec.Outcome = &Outcome{
		Class: fault.Failed.Code(), Code: CodeAgentStopped,
		Message: fmt.Sprintf("the process that captured for session %q %s; %s", rec.Name, why, what),
	}
}

// A guard that outlived its process has the file for the moment that it takes
// to cut it and to bring it to the disk.
const (
	mendWait = 300 * time.Millisecond
	mendStep = 10 * time.Millisecond
)

// mend cuts the capture file that was made at path behind its last whole record, where the guard that
// would have done so was killed, too. It tells what is in the file. final is
// false when somebody still has the file, so that it may change.
func mend(path string, made storage.FileID, known capture.Written) (kept capture.Written, final bool) {
	file, err := os.OpenFile(path, os.O_RDWR|openSafely, 0)
	if err != nil {
		// Without leave to write there is none to mend either; a file that is
		// gone has what it had.
		return known, !errors.Is(err, fs.ErrPermission)
	}
	defer func() { _ = file.Close() }()
	// Another file may have come to stand there since.
	if id, err := storage.IdentifyFile(file); err != nil || id != made {
		return known, true
	}
	for deadline := time.Now().Add(mendWait); ; time.Sleep(mendStep) {
		if free, err := lockFile(file); err != nil {
			break // no locks here, as there were none for the writer
		} else if free {
			break
		}
		if time.Now().After(deadline) {
			return known, false
		}
	}
	return cut(file, known)
}

// cut ends the file behind its last whole record. What is known to be written
// need not be read again, unless the machine went down and took some of it.
func cut(file *os.File, known capture.Written) (kept capture.Written, final bool) {
	st, err := file.Stat()
	if err != nil {
		return known, false
	}
	start, whole := begin(file)
	if whole == nil {
		return cutCompressed(file, st.Size(), known)
	}
	if st.Size() < known.Size || known.Size < start {
		// Records that were given back to the disk cannot be walked.
		if given, err := storage.Given(file); err != nil || given > 0 {
			known.Size = st.Size()
			return known, true
		}
		known = capture.Written{Size: start}
	}
	if st.Size() <= known.Size {
		known.Size = st.Size()
		return known, true
	}
	kept, err = walk(file, known, whole)
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

// cutCompressed ends a compressed file where it was known to be good. What is
// behind that cannot be told without unpacking all of it, and of a file of a
// ring nothing is known: readers take what they can.
func cutCompressed(file *os.File, size int64, known capture.Written) (kept capture.Written, final bool) {
	if known.Size > 0 && size > known.Size {
		return known, errors.Join(file.Truncate(known.Size), file.Sync()) == nil
	}
	known.Size = size
	return known, true
}

// begin tells where the first record or block behind a file's header is, and
// how those that are whole are told from what is cut. A pcapng file is blocks
// from its first byte on. The function is nil for a compressed file.
func begin(file io.ReaderAt) (int64, func([]byte) (packets, data, size int)) {
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

// walk counts what is whole behind w.
func walk(file io.ReaderAt, w capture.Written, whole func([]byte) (packets, data, size int)) (capture.Written, error) {
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
