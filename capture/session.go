package capture

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/sandbox"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
	"pcapctl/storage"
)

// StopReason says why a capture ended. The service's own are free strings;
// these are all that pcapctl uses.
type StopReason string

// The stop reasons. The first seven end a complete capture, unless there was never
// an interface to capture on; the others one that failed.
const (
	TimeExceeded       StopReason = "TimeExceeded"       // timeLimitInSeconds
	SizeExceeded       StopReason = "SizeExceeded"       // totalBytesPerSession
	PacketLimitReached StopReason = "PacketLimitReached" // as many packets are recorded as --packet-limit says
	EventSeen          StopReason = "EventSeen"          // the packet of --stop-when has come, and --stop-after has passed since
	Manual             StopReason = "Manual"             // a signal, or stop
	ReaderLeft         StopReason = "ReaderLeft"         // nobody reads the stream any more
	EndOfFile          StopReason = "EndOfFile"          // the file that packets are read from has come to its end
	MinFreeReached     StopReason = "MinFreeReached"     // the disk would have less free space than --min-free
	InterfaceRemoved   StopReason = "InterfaceRemoved"   // every interface captured on is gone
	NamespaceRemoved   StopReason = "NamespaceRemoved"   // the network namespace captured in was deleted
	FileFailed         StopReason = "LocalFileFailed"    // the disk did not take the packets
	CaptureBroken      StopReason = "CaptureFailed"      // the kernel's socket failed
)

// takesNoMore reports whether a capture that ends so has no place for the packets that are in the source still.
func (r StopReason) takesNoMore() bool {
	return r == SizeExceeded || r == PacketLimitReached || r == MinFreeReached || r == ReaderLeft
}

// Session is a capture that is under way.
type Session struct {
	Plan    *Plan
	Started time.Time // wall clock and monotonic; packets are captured from here on
	// Warnings are those of the plan, and of the start.
	Warnings []string

	options  Options
	watcher  Watcher
	src      source.Source
	rec      *save.Recorder
	sink     save.Sink
	reader   reader // of a stream
	counters save.Counters
	reserve  save.Reserve
	delivery deliver.Delivery
	guard    storage.Protector
	notes    warnings       // on the way
	commands commands       // for files that are finished
	context  *contextWriter // nil for none
	names    *save.Names    // of flows, nil for none

	folder     *storage.Folder // of the files
	begun      atomic.Bool     // packets are being captured
	unguarded  atomic.Bool     // which has been told
	made       storage.FileID  // the first file
	drops      dropLog
	gaps       gapLog
	event      eventEnd
	alerted    atomic.Pointer[string] // what was told last
	helped     bool                   // the processes that help are started
	level      *sandbox.Level         // nil as long as nothing was given up
	madeFolder string                 // the captures folder, if it was made for the sandbox

	reason StopReason // when the files are brought to their end
	stats  source.Stats
	asked  time.Duration // when stats were asked for by the packet loop
	limit  limitPacket   // what the byte or the packet limit ended the capture at

	beat      sync.WaitGroup
	ended     chan struct{} // closed when the capture has ended
	telling   sync.WaitGroup
	delivered chan struct{} // closed when the delivery has
}

// limitPacket is where the byte limit, or the packet limit, ended a capture. The zero value is nowhere.
type limitPacket struct {
	came time.Time // of a packet of an interface, else zero
	// Of a file that is read, which is read ahead:
	ofFile  bool
	read    uint64 // packets that were looked at
	refused uint64 // of these, how many have no room
}

// limitAt is the end at what the byte limit has no room for.
func limitAt(left *source.Packet) limitPacket {
	switch {
	case left.Number == 0:
		return limitPacket{came: time.Unix(left.Sec, int64(left.Nsec))}
	case left.Apart:
		return limitPacket{ofFile: true, read: left.Number - 1}
	}
	return limitPacket{ofFile: true, read: left.Number, refused: 1}
}

// limitBehind is the end behind the packet that reached the packet limit.
func limitBehind(last save.Last) limitPacket {
	return limitPacket{came: last.Came, ofFile: last.Number > 0, read: last.Number}
}

// Options are what a session needs besides its plan.
type Options struct {
	// Guard is the program to start as the guard of the files
	// (storage.StartGuard), "" for none; and, with Confine, as the process that runs
	// OnFile (save.StartHook).
	Guard string
	// Confine gives up what is not in the policy, for the whole process: it is called
	// once everything is open, before the first packet, or byte of a file that is
	// read. sandbox.Enter is one; nil is for a process that keeps its rights.
	Confine func(sandbox.Policy) (sandbox.Level, error)
	// Folders are those that the process writes to besides the session's, as where
	// its Watcher keeps what it is told.
	Folders []sandbox.Folder
	// Watcher is told how the session gets on; nil is nobody.
	Watcher Watcher
	// Delivery is where the capture goes besides: Plan.Connect gives it; nil is
	// deliver.None, for a plan without a blob. A session that has begun closes it.
	Delivery deliver.Delivery
	// Listed says that the registry has the session, so that `pcapctl upload` finds
	// it by its name.
	Listed bool
	// MinFree is how many bytes the disk of the capture files must keep free: 0
	// for no such limit, nil for the default.
	MinFree *int64
	// OnFile is run for every file that is finished, also for those that do not
	// stay in a rotation.
	OnFile save.OnFile
	// Tell is told at once, beside the packet loop, what goes wrong on the way. It stands in Result.Warnings or Result.Err
	// as well. It must not wait, as the end of the capture would wait for it. nil is nobody.
	Tell func(text string)
	// Outlet is where a stream goes, for a plan of one. A session that has begun closes it.
	Outlet save.Outlet
	// Rights are those that the files are made and finished with, where the source is
	// read with fewer.
	Rights Rights
}

// Rights changes what this process may do. The zero value changes nothing.
type Rights struct {
	// Make runs what makes or removes files.
	Make func(do func() error) error
	// Regain is called when nothing more is read of the source, before the files are
	// finished.
	Regain func() error
}

func (r Rights) make(do func() error) error {
	if r.Make == nil {
		return do()
	}
	return r.Make(do)
}

func (r Rights) regain() error {
	if r.Regain == nil {
		return nil
	}
	if err := r.Regain(); err != nil {
		return fault.Errorf(fault.Internal, "finish the capture files: %w", err)
	}
	return nil
}

// Watcher is told what a running session has come to, by the session itself,
// so that nobody else has to ask it.
type Watcher interface {
	// Progress is called by the packet loop after every block of packets. It
	// must neither wait for anything nor allocate.
	Progress(Progress)
	// Interfaces is called every few seconds, beside the packet loop. list is
	// the watcher's to keep.
	Interfaces(elapsed time.Duration, list []source.Link)
	// Upload is called every second, beside the packet loop, while the capture
	// is on its way to a blob; the last time when that is complete or given up.
	Upload(deliver.Progress)
	// File is called when a file is begun and when it is complete, beside the packet
	// loop. With a file of a rotation that is begun, the one that is fileCount files
	// older has gone.
	File(save.File)
}

// unwatched is the Watcher of a session that nobody watches.
type unwatched struct{}

// Progress implements Watcher.
func (unwatched) Progress(Progress) {}

// Interfaces implements Watcher.
func (unwatched) Interfaces(time.Duration, []source.Link) {}

// Upload implements Watcher.
func (unwatched) Upload(deliver.Progress) {}

// File implements Watcher.
func (unwatched) File(save.File) {}

// Start opens the files and then the source. When it returns, packets are being
// captured; when it fails, nothing is left behind.
//
// Error classes: those of source.Spec.Prepare and Source.Open, Invalid, Conflict
// (the file exists), NotFound (its folder does not), Forbidden, LocalFile,
// Internal.
func Start(p *Plan, o Options) (_ *Session, err error) {
	if err := save.CheckMinFree(o.MinFree); err != nil {
		return nil, err
	}
	s := newSession(p, o)
	defer func() {
		if err != nil {
			s.undo()
		}
	}()
	if s.src, err = p.Source.Prepare(s.confine); err != nil {
		return nil, err
	}
	encoder := s.encoder()
	if err := save.CheckLimit(p.Config, encoder); err != nil {
		return nil, err
	}
	if err := o.Rights.make(func() error {
		if err := s.startHelpers(); err != nil {
			return err
		}
		return s.openFiles(encoder)
	}); err != nil {
		return nil, err
	}
	if err := s.src.Open(); err != nil {
		return nil, err
	}
	if err := s.startContext(); err != nil {
		return nil, err
	}
	// Before the first packet: the connections that looked at the blob are open
	// still, and the upload will use them.
	if err := s.delivery.Start(s.src.Exclude); err != nil {
		return nil, err
	}
	// The last moment: nothing that others send has been read.
	if err := s.confine(); err != nil {
		return nil, err
	}
	if err := s.src.Start(); err != nil {
		return nil, err
	}
	s.Started = time.Now()
	s.begun.Store(true)
	s.reader.Begin()
	s.warn(s.src.Report().Warnings...)
	s.beginTelling()
	s.beat.Go(func() { s.reserve.Watch(s.ended, &s.counters, s.src.Wake) })
	return s, nil
}

// encoder is the encoder of the files.
func (s *Session) encoder() save.Encoder {
	e := save.NewEncoder(s.Plan.Config, s.src)
	if s.Plan.Context.On && s.Plan.Config.Format == pcapfile.NG {
		s.names = &save.Names{}
		e = save.NewNamedEncoder(e, s.names)
	}
	return e
}

// newSession is a session of which nothing is open.
func newSession(p *Plan, o Options) *Session {
	if o.Watcher == nil {
		o.Watcher = unwatched{}
	}
	if o.Delivery == nil {
		o.Delivery = deliver.None{}
	}
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	return &Session{
		Plan: p, Warnings: slices.Concat(p.Warnings, o.Delivery.Warnings()), options: o, watcher: o.Watcher, delivery: o.Delivery, sink: noSink{}, reader: noReader{}, guard: storage.Unguarded{},
		ended: make(chan struct{}), delivered: make(chan struct{}), commands: newCommands(o.OnFile),
	}
}

// undo takes back what was made for a session that could not start. What was made with
// the rights to do so is removed with them.
func (s *Session) undo() {
	_ = s.options.Rights.make(func() error {
		s.context.discard()
		s.sink.Discard()
		if s.folder != nil {
			s.folder.Discard()
		}
		s.unmakeFolder()
		return nil
	})
	if s.src != nil {
		_ = s.src.Close()
	}
	s.guard.Close()
	s.commands.runner.Close()
}

// openFiles makes the file that is written first, with its header.
func (s *Session) openFiles(e save.Encoder) (err error) {
	p, c := s.Plan, s.Plan.Config
	if c.Stream {
		return s.openStream(e)
	}
	dir, path := p.File()
	if s.folder, err = storage.OpenFolder(dir, path); err != nil {
		return p.createError(err)
	}
	o := save.Options{
		Folder: s.folder, Path: path, Compress: c.Compress, Guard: s.protect, Events: events{s}, Reserve: &s.reserve,
		Losses: s.losses, Header: e.Begin(nil), Whole: e.Whole, Counters: &s.counters,
	}
	if c.Rotates() {
		o.Files = c.Continuous.FileCount
	}
	sink, err := save.OpenSink(o)
	switch {
	case errors.Is(err, save.ErrStart):
		return fault.Errorf(fault.LocalFile, "%w: free some space, or name another folder with --captures-dir", err)
	case err != nil:
		return p.createError(err)
	}
	s.warn(s.notes.list()...)
	s.notes.clear()
	if !s.folder.KeepsRights() {
		s.warn(fmt.Sprintf("the file system of %s keeps no permissions: whoever uses this machine can read the capture", s.folder.Path()))
	}
	s.record(e, sink, len(o.Header))
	if every := c.RotateEvery(); every > 0 {
		s.rec.RotateEvery(every, time.Now())
	}
	return s.reserve.Open(s.folder, s.options.MinFree)
}

// openStream makes the sink of a capture that makes no file.
func (s *Session) openStream(e save.Encoder) error {
	if s.options.Outlet == nil {
		return fault.Errorf(fault.Internal, "nobody has said where the stream goes")
	}
	header := e.Begin(nil)
	stream := save.NewStream(save.StreamOptions{
		Outlet: s.options.Outlet, Name: s.Plan.Destination(), Header: header, Whole: e.Whole, Losses: s.losses, Left: s.src.Wake, Counters: &s.counters,
	})
	s.reader = stream
	s.record(e, stream, len(header))
	return nil
}

// record has packets recorded into a sink.
func (s *Session) record(e save.Encoder, sink save.Sink, header int) {
	c := s.Plan.Config
	s.sink = sink
	s.rec = save.NewRecorder(e, sink, &s.counters, c.MaxBytes, header)
	if c.MaxPackets > 0 {
		s.rec.LimitPackets(c.MaxPackets)
	}
	s.watchForEvent()
}

// reader is who reads a capture as it comes: a save.Stream knows him.
type reader interface {
	// Begin says that packets are being captured.
	Begin()
	// Hasten says that the capture is to end, so that nobody waits for a reader that takes nothing.
	Hasten()
	// Left reports whether the reader has left.
	Left() bool
}

// noReader is the reader of a capture that makes files.
type noReader struct{}

// Begin implements reader.
func (noReader) Begin() {}

// Hasten implements reader.
func (noReader) Hasten() {}

// Left implements reader.
func (noReader) Left() bool { return false }

// Made tells the file that was made first from every other.
func (s *Session) Made() storage.FileID { return s.made }

// warn adds to the warnings of the start.
func (s *Session) warn(texts ...string) { s.Warnings = slices.Concat(s.Warnings, texts) }

// losses are what the source lost up to now.
func (s *Session) losses() save.Losses {
	st := s.src.Stats()
	return save.Losses{Start: s.Started, Links: s.src.Links(), ByKernel: st.Dropped}
}

// events are what the sink tells of its files, passed on to all who want to know.
type events struct{ s *Session }

// Begun implements save.Events.
func (e events) Begun(f save.File, open func() (*os.File, error)) {
	if f.Sequence <= 1 {
		e.s.made = f.ID
	}
	e.s.delivery.Begun(f, open)
	f.Size = 0
	e.s.watcher.File(f)
}

// Grew implements save.Events.
func (e events) Grew(sequence int, size int64) { e.s.delivery.Grew(sequence, size) }

// Complete implements save.Events. The command of the one file of a session runs
// when it has been delivered.
func (e events) Complete(f save.File) {
	e.s.delivery.Complete(f)
	e.s.watcher.File(f)
	if f.Sequence > 0 {
		e.s.runOnFile(f)
	}
}

// Leaving implements save.Events.
func (e events) Leaving(f save.File) { e.s.delivery.Leaving(f) }

// Warn implements save.Events.
func (e events) Warn(text string) {
	e.s.notes.add(text)
	e.s.alert(text)
}

// runOnFile runs the command for a file that is finished. Those that were full
// before the session ended are told no stop reason.
func (s *Session) runOnFile(f save.File) {
	done := save.Finished{File: f, Config: s.Plan.Config}
	if f.Last {
		done.Reason = string(s.reason)
	}
	s.notes.add(s.commands.run(s.options.OnFile, &done))
}

// Source is what packets come from.
func (s *Session) Source() source.Report { return s.src.Report() }

// noSink stands for the files of a session that has not made any.
type noSink struct{ save.Sink }

// Discard implements save.Sink.
func (noSink) Discard() {}
