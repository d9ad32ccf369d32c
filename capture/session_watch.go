package capture

import (
	"context"
	"time"

	"pcapctl/capture/save"
	"pcapctl/storage"
)

// lookEvery is how often it is looked whether the file that is being written is where it was made: whoever removes or
// renames it is to see what he has done within a second.
const lookEvery = 500 * time.Millisecond

// watchFile looks where the file is until the session has ended, and tells when it is not where it was. A file that was
// renamed is good where it is now, and a ring goes on with the next; otherwise end ends the capture.
func (s *Session) watchFile(end context.CancelFunc) {
	var last *storage.Displaced
	ended := false
	every(lookEvery, s.ended, func() {
		d := s.sink.Look()
		if d == nil || ended || last != nil && d.Error() == last.Error() || last != nil && last.OfFolder() && d.OfFolder() && d.Now != "" {
			return
		}
		last = d
		text := d.Error()
		if ended = s.endsBy(d); ended {
			text += "; the capture ends"
		}
		s.alert(text)
		if ended {
			end()
		}
	})
}

// endsBy reports whether a capture ends by it. What nobody can reach any more need not be captured.
func (s *Session) endsBy(d *storage.Displaced) bool {
	return d.FolderGone() || d.Now == "" && !s.sink.Rotates()
}

// protect puts a file under guard. That there is none is told once, of the first file by the sink.
func (s *Session) protect(f *storage.File) error {
	err := s.guard.Protect(f)
	if err != nil && s.begun.Load() {
		s.tellUnguarded(err)
		return nil
	}
	if err != nil {
		s.unguarded.Store(true)
	}
	return err
}

// watchGuard tells of a guard that ends before the session. No other one is started: once packets are captured, the
// process may not be allowed to start any.
func (s *Session) watchGuard() {
	select {
	case <-s.ended:
	case err := <-s.guard.Lost():
		s.tellUnguarded(err)
	}
}

// tellLostGuard tells of a guard that was lost while the files were brought to their end.
func (s *Session) tellLostGuard() {
	select {
	case err := <-s.guard.Lost():
		s.tellUnguarded(err)
	default:
	}
}

func (s *Session) tellUnguarded(err error) {
	if !s.unguarded.Swap(true) {
		text := save.Unguarded(err)
		s.notes.add(text)
		s.alert(text)
	}
}

// alert tells at once what goes wrong, unless that was the last thing told. What goes wrong at the start is in Warnings.
func (s *Session) alert(text string) {
	if last := s.alerted.Swap(&text); s.begun.Load() && (last == nil || *last != text) {
		s.options.Tell(text)
	}
}
