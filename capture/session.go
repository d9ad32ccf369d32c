package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/ring"
	"pcapctl/storage"
)

// StopReason says why a capture ended. The service's own are free strings;
// these are all that pcapctl uses.
type StopReason string

// The stop reasons. The first four end a complete capture, the others one
// that failed.
const (
	TimeExceeded     StopReason = "TimeExceeded"     // timeLimitInSeconds
	SizeExceeded     StopReason = "SizeExceeded"     // totalBytesPerSession
	Manual           StopReason = "Manual"           // a signal, or stop
	MinFreeReached   StopReason = "MinFreeReached"   // the disk would have less free space than --min-free
	InterfaceRemoved StopReason = "InterfaceRemoved" // every interface captured on is gone
	FileFailed       StopReason = "LocalFileFailed"  // the disk did not take the packets
	CaptureBroken    StopReason = "CaptureFailed"    // the kernel's socket failed
)

// flushTime is how long records may wait in the buffer when blocks come full
// and then nothing more comes at all.
const flushTime = 250 * time.Millisecond

// Session is a capture that is under way.
type Session struct {
	Plan    *Plan
	Started time.Time // wall clock and monotonic; packets are captured from here on

	ring  *ring.Ring
	file  *outFile  // nil for a ring of files
	turn  *rotation // nil for one file
	guard storage.Protector

	onFile   OnFile
	reason   StopReason // when the files are brought to their end
	warnings warnings
	rec      *recorder
	links    *linkWatch
	// upload is nil when the capture goes to a file only.
	upload *upload
	sends  *ringUpload // of a ring, instead

	watcher Watcher
	listed  bool
	stats   ring.Stats    // as the packet loop last saw them
	asked   time.Duration // when that was
	beat    sync.WaitGroup
	ended   chan struct{}
}

// Options are what a session needs besides its plan.
type Options struct {
	// Guard is the program to start as the guard of the files
	// (storage.StartGuard), "" for none.
	Guard string
	// Watcher is told how the session gets on; it may be nil.
	Watcher Watcher
	// Listed says that `pcapctl upload NAME` will find the session.
	Listed bool
	// Blob is where the capture goes besides; Plan.OpenBlob gives it, and nil
	// when the plan has no blob. A session that has begun closes it.
	Blob *BlobTarget
	// MinFree is how many bytes the disk of the capture files must keep free: 0
	// for no such limit, nil for the default.
	MinFree *int64
	// OnFile is run for every file that is finished, also for those that do not
	// stay in a ring.
	OnFile OnFile
}

// Watcher is told what a running session has come to, by the session itself,
// so that nobody else has to ask it.
type Watcher interface {
	// Progress is called by the packet loop after every block of packets. It
	// must neither wait for anything nor allocate.
	Progress(Progress)
	// Interfaces is called every few seconds, beside the packet loop. list is
	// the watcher's to keep.
	Interfaces(elapsed time.Duration, list []LinkDrops)
	// Upload is called every second, beside the packet loop, while the capture
	// is on its way to a blob; the last time when that is complete or given up.
	Upload(UploadProgress)
	// File is called when a file of a ring is begun and when it is complete,
	// beside the packet loop. With a file that is begun, the one that is
	// fileCount files older has gone.
	File(RingFile)
}

// Start opens the file and then the socket. When it returns, packets are being
// captured; when it fails, nothing is left behind.
//
// Error classes: Forbidden, Conflict (the file exists), NotFound (its folder
// does not), LocalFile, Internal.
func Start(p *Plan, o Options) (_ *Session, err error) {
	// Asked first so that a process without the privilege is told so, and not
	// of a folder that it may not write to either.
	if err := ring.Privileged(); err != nil {
		return nil, privilege(err)
	}
	s := &Session{Plan: p, watcher: o.Watcher, listed: o.Listed, onFile: o.OnFile, guard: storage.Unguarded{}}
	var ng *sections
	if p.Config.Format == pcapfile.NG {
		ng = p.sections(func(index int) (netif.Interface, bool) { return s.links.lookUp(index) })
		if err := fits(p.Config, ng); err != nil {
			return nil, err
		}
	}
	if err := checkMinFree(o.MinFree); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.discard()
		}
	}()
	if o.Guard != "" {
		if guard, err := storage.StartGuard(o.Guard); err != nil {
			p.Warnings = append(p.Warnings, unguarded(err))
		} else {
			s.guard = guard
		}
	}
	path, err := s.openFile(ng)
	if err != nil {
		return nil, err
	}
	if s.rec.reserve, err = newReserve(filepath.Dir(path), o.MinFree); err != nil {
		return nil, err
	}
	// Only the sockets belong to the namespace; the file is written here.
	if err := netif.In(p.netns, func() error { return s.openSockets(o.Blob, path) }); err != nil {
		return nil, namespaceError(err)
	}
	s.Started = time.Now()
	s.keepTelling()
	s.watchDisk()
	if s.turn != nil {
		s.turn.run()
	}
	if s.sends != nil {
		s.sends.run(s.watcher)
	}
	if s.upload != nil {
		s.upload.follow(s.rec.writtenSize.Load, s.watcher)
	}
	return s, nil
}

// openFile makes the file that is written first, with its header.
func (s *Session) openFile(ng *sections) (path string, err error) {
	p := s.Plan
	folder, path := p.File()
	s.rec = newRecorder(p.Config, p.LinkType, ng)
	if p.Config.IsRing() {
		o := newRotation(p, s.guard, s.watcher)
		o.warn, o.onFile = s.warnings.add, s.ringFileDone
		file, err := o.begin(s.rec.fileHeader())
		if err != nil {
			return "", p.createError(folder, err)
		}
		s.turn, s.rec.file = o, file
		if ng != nil {
			o.trailer = s.trailer
		}
		s.rec.turning(o)
		s.rec.began()
		return path, nil
	}
	file, err := storage.Create(folder, path)
	if err != nil {
		return "", p.createError(folder, err)
	}
	if s.file, err = newOutFile(file, p.Config.Compress); err != nil {
		return "", fault.Errorf(fault.Internal, "%w", err)
	}
	if err := s.guard.Protect(file); err != nil {
		p.Warnings = append(p.Warnings, unguarded(err))
	}
	if err := s.rec.start(s.file); err != nil {
		return "", startError(err)
	}
	return path, nil
}

// unguarded warns of a file that has no guard.
func unguarded(err error) string {
	return fmt.Sprintf("%v: a kill -9 may leave its last packet cut", err)
}

// discard takes away what there is of a session that never began.
func (s *Session) discard() {
	s.upload.discard()
	if s.rec != nil {
		_ = s.rec.endPacking()
	}
	if s.file != nil {
		_ = s.file.Discard()
	}
	if s.turn != nil {
		s.turn.discard()
	}
	s.guard.Close()
}

// where names the capture file, or the ring, for people.
func (s *Session) where() string {
	if s.turn != nil {
		return "the files " + s.Plan.Config.FilePath + " was split into"
	}
	return s.file.Path()
}

// openSockets opens everything that packets come from. When it returns, they
// are being captured.
func (s *Session) openSockets(blob *BlobTarget, path string) (err error) {
	s.ring, err = ring.Open(s.Plan.ringOptions())
	for errors.Is(err, ring.ErrFilterTooLarge) && s.Plan.shrinkFilter() {
		s.ring, err = ring.Open(s.Plan.ringOptions())
	}
	if err != nil {
		return openError(s.Plan, err)
	}
	if !s.Plan.Program.Exact {
		s.rec.user = &s.Plan.Config.Filters
	}
	// Before the first packet: the connections that looked at the blob are open
	// still, and the upload will use them.
	if err := s.beginUpload(blob, path); err != nil {
		return errors.Join(err, s.ring.Close())
	}
	if s.links, err = watchLinks(s.Plan, s.ring.Wake); err != nil {
		return errors.Join(fault.Errorf(fault.Internal, "%w", err), s.ring.Close())
	}
	if err := s.ring.Start(); err != nil {
		return errors.Join(openError(s.Plan, err), s.links.close(), s.ring.Close())
	}
	return nil
}

// openError tells an interface that went away since it was looked up from a
// missing privilege.
func openError(p *Plan, err error) error {
	if errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO) {
		return fault.Errorf(fault.NotFound, "start capturing on %s: %w", p.On(), err)
	}
	return privilege(err)
}

// startError is that of a file whose beginning the disk does not take.
func startError(err error) error {
	return fault.Errorf(fault.LocalFile, "%w: free some space, or name another folder with --captures-dir", err)
}

func createError(folder string, err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fault.Errorf(fault.LocalFile, "%w: name a folder that can be written to with --captures-dir", err)
	case errors.Is(err, fs.ErrExist):
		return fault.Errorf(fault.Conflict, "%w: nothing is overwritten; choose another filePath, or put {startTime} into it", err)
	case errors.Is(err, storage.ErrOutside):
		e := fault.Errorf(fault.Invalid, "%w (%s)", err, folder)
		e.Target = "properties.storageLocation.filePath"
		return e
	case errors.Is(err, fs.ErrNotExist):
		return fault.Errorf(fault.NotFound, "%w: only the captures folder itself (%s) is made when it is missing; make the one below it first", err, folder)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "%w: run pcapctl as a user who may write there, or name another folder with --captures-dir", err)
	default:
		return fault.Errorf(fault.LocalFile, "%w", err)
	}
}

func fileError(err error) error {
	hint := "what was written before is kept and readable"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		hint = "free some space or set a smaller totalBytesPerSession; " + hint
	}
	return fault.Errorf(fault.LocalFile, "the capture file could not be completed: %w; %s", err, hint)
}

func (s *Session) result(reason StopReason, end time.Time) *Result {
	st, _ := s.ring.Stats()
	links := s.links.dropped()
	p := s.Plan
	return &Result{
		Config:       p.Config,
		Started:      s.Started,
		Elapsed:      end.Sub(s.Started),
		StopReason:   reason,
		Packets:      s.rec.packets.Load() - s.rec.lost.Load(),
		Bytes:        s.rec.bytes.Load() - s.rec.lostBytes.Load(),
		Received:     st.Received,
		Freezes:      st.Freezes,
		Dropped:      s.progress(st).Dropped,
		LinkType:     p.LinkType,
		FilterMode:   p.FilterMode(),
		Interfaces:   links,
		AnyInterface: p.Any,
		Files:        s.files(),
	}
}
