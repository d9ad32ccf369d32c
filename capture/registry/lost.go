package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/save"
	"pcapctl/storage"
)

// finishLost finds out what a session came to whose process has ended and wrote
// no outcome. It cuts the capture file behind its last complete packet, and
// writes the outcome into the record. Where that is not allowed or not possible
// now, nothing on the disk is changed, and what is returned says what is known.
func (f *folder) finishLost(rec *Record) *Record {
	c := f.counters()
	if ok, err := tryLock(f.lock, changeLock); err != nil || !ok {
		describeLost(rec, &c, c.Written)
		return rec
	}
	defer f.unlockForChange()
	if now, err := f.record(); err == nil && now.Outcome != nil {
		return now // another process has just done it
	}
	kept, final := c.Written, true
	if list := f.rotatedFiles(rec); list != nil {
		var files []capture.FileResult
		files, kept.Packets, final = repairRotation(list, c.Written)
		st := rec.Resource.Properties.Statistics
		st.Files = slices.Clone(files) // for the words; what it says of the first is that of a single file
		describeLost(rec, &c, kept)
		st.Files = files
	} else {
		if paths := rec.files(); len(paths) > 0 {
			kept, final = repair(paths[0], c.file, c.Written)
		}
		describeLost(rec, &c, kept)
		if paths := rec.files(); len(paths) > 0 && !c.start.IsZero() && gone(paths[0], c.file) {
			rec.Resource.Properties.Statistics.Files = []capture.FileResult{}
			rec.Outcome.Message = lostMessage(rec, fmt.Sprintf("its file %s has been renamed, removed or replaced by somebody", paths[0]))
		}
	}
	if final {
		_ = f.rewrite(rec) // when it fails, the next who looks at the session tries again
	}
	return rec
}

// gone reports whether the file made does not stand at the path any more.
func gone(path string, made storage.FileID) bool {
	now, err := storage.IdentifyPath(path)
	return errors.Is(err, fs.ErrNotExist) || err == nil && made != storage.FileID{} && now != made
}

// repairRotation repairs the files of a rotation whose process was killed, and
// tells what is in them. final is false while another process has one of them.
func repairRotation(list []rotatedFile, now save.Written) (files []capture.FileResult, packets uint64, final bool) {
	final = true
	for _, r := range list {
		if _, err := os.Lstat(r.Path); errors.Is(err, fs.ErrNotExist) {
			continue // the rotation has removed it, or somebody else
		}
		if !r.Complete {
			kept, done := repair(r.Path, r.id, save.Written{})
			r.Packets, r.Size = kept.Packets, kept.Size
			if kept.Packets == 0 && r.Sequence == list[len(list)-1].Sequence {
				r.Packets = now.Packets - min(now.Packets, r.Before) // compressed: as far as the counters know
			}
			final = final && done
		}
		packets = r.Before + r.Packets
		files = append(files, capture.FileResultOf(r.File))
	}
	return files, packets, final
}

// describeLost makes rec the record of a session that was lost, with kept in its
// file.
func describeLost(rec *Record, c *counters, kept save.Written) {
	p := &rec.Resource.Properties
	p.ProvisioningState, p.PacketCaptureStatus = capture.StateFailed, capture.StatusError
	p.PacketCaptureError = []string{CodeAgentStopped}
	p.StopReason = CodeAgentStopped
	rec.Resource.SetStart(c.start)
	c.Packets, c.Bytes = kept.Packets, kept.Bytes
	c.fill(p.Statistics, kept.Size)
	if u := p.Statistics.Upload; u != nil {
		u.State = deliver.Failed
		next := rec.Name
		if rotationCount(rec) > 0 {
			next = "FILE --storage-path URL"
		}
		u.Problem = fmt.Sprintf("the process that sent it ended before it was complete: `pcapctl upload %s` goes on with it", next)
	}

	what := "it had not begun to capture"
	if !c.start.IsZero() {
		what = fmt.Sprintf("what it had written is readable, in %s", rec.Where())
	}
	rec.Outcome = &fault.Report{
		Class: fault.Failed.Code(), Code: CodeAgentStopped,
		Message: lostMessage(rec, what),
	}
}

// lostMessage says why a session was lost, and what of it is left.
func lostMessage(rec *Record, what string) string {
	why := "was killed or has crashed"
	if boot := bootID(); boot != "" && rec.BootID != "" && boot != rec.BootID {
		why = "ended when the machine went down"
	}
	return fmt.Sprintf("the process that captured for session %q %s; %s", rec.Name, why, what)
}
