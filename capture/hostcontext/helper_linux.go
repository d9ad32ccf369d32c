package hostcontext

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"pcapctl/capture/netif"
)

// A process that has given up its rights may neither look at the files of other
// processes nor open a socket. So another one does, which is told at its start what to
// look at and where to write, and later only that the capture has ended.

// helperName is the name of that process in a list of processes.
const helperName = "pcap-context"

// Descriptors of the process, behind its standard streams. Not one of those: package os
// has given them to the runtime's poller by then, which takes a descriptor once.
const (
	helperConn = 3 // its order and the end come by it, and what it has to tell goes
	helperFile = 4
)

// Patience of the capture with the process.
const (
	readyPatience = 5 * time.Second
	endPatience   = 15 * time.Second
)

// message is one of the process.
type message struct {
	Ready  bool    `json:",omitempty"`
	Socket *Socket `json:",omitempty"`
	Told   *Told   `json:",omitempty"`
}

// maxMessage bounds a message, in bytes.
const maxMessage = 16 << 10

// Sampler is the process that samples, as the capture sees it.
type Sampler struct {
	cmd     *exec.Cmd
	conn    *os.File
	ready   chan struct{} // closed after the first look
	sockets chan *Socket
	done    chan struct{} // closed when there will be nothing more
	told    *Told
	once    sync.Once
}

// Start starts the process. program is the path of the program to run, which must call
// Main first of all in its main. The context is written to file, which may be closed then.
// Start returns after the first look, or when that takes too long.
func Start(program string, o Options, file *os.File) (*Sampler, error) {
	socks, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(socks[1]), helperName)
	defer func() { _ = theirs.Close() }()
	s := &Sampler{
		conn: os.NewFile(uintptr(socks[0]), helperName), ready: make(chan struct{}), sockets: make(chan *Socket, 1024), done: make(chan struct{}),
	}
	s.cmd = &exec.Cmd{
		Path: program, Args: []string{helperName}, Dir: "/",
		Env:        []string{"GOMAXPROCS=1", "GOTRACEBACK=none", "GOGC=50"},
		ExtraFiles: []*os.File{theirs, file},
		// As the guard: Ctrl-C and the end of the terminal are not its business.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := s.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the process that looks at sockets: %w", err), s.conn.Close())
	}
	go s.receive()
	if err := json.NewEncoder(s.conn).Encode(o); err != nil {
		s.Close()
		return nil, fmt.Errorf("start the process that looks at sockets: %w", err)
	}
	select {
	case <-s.ready:
	case <-s.done:
		if s.told == nil {
			s.Close()
			return nil, errEnded
		}
	case <-time.After(readyPatience):
	}
	return s, nil
}

var errEnded = errors.New("the process that looks at sockets has ended")

// receive reads what the process tells. It is ours, but what it tells comes from others.
func (s *Sampler) receive() {
	defer close(s.done)
	defer close(s.sockets)
	in := bufio.NewScanner(s.conn)
	in.Buffer(make([]byte, 0, maxMessage), maxMessage)
	ready := sync.OnceFunc(func() { close(s.ready) })
	for in.Scan() {
		var m message
		if json.Unmarshal(in.Bytes(), &m) != nil {
			return
		}
		switch {
		case m.Ready:
			ready()
		case m.Told != nil:
			s.told = m.Told
			return
		case m.Socket != nil:
			select {
			case s.sockets <- m.Socket:
			default: // nobody takes them
			}
		}
	}
}

// Sockets gives sockets as they get a name, until the process ends.
func (s *Sampler) Sockets() <-chan *Socket { return s.sockets }

// End says that the capture has ended. It does not wait.
func (s *Sampler) End() {
	s.once.Do(func() {
		if raw, err := s.conn.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_WR) })
		}
	})
}

// Wait returns when the file is written. nil: the process has ended without a word, or
// does not answer.
func (s *Sampler) Wait() *Told {
	s.End()
	select {
	case <-s.done:
	case <-time.After(endPatience):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
	s.Close()
	return s.told
}

// Close ends the process, whatever it does.
func (s *Sampler) Close() {
	_ = s.conn.Close()
	select {
	case <-s.done:
	case <-time.After(time.Second):
	}
	if s.told == nil {
		_ = s.cmd.Process.Kill()
	}
	_ = s.cmd.Wait()
}

// IsHelper tells whether this process was started by Start.
func IsHelper() bool { return len(os.Args) == 1 && os.Args[0] == helperName }

// Main is the process that Start starts. confine gives up what it does not need any more,
// once it is in its namespace; what it cannot give up changes nothing of what it is there
// for. When the capture is killed it completes the file as it
// does at an end.
func Main(confine func() error) {
	// A service manager signals every process of a unit. This one ends when the capture does.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	// For os.NewFile, and cleared by whoever passed it on.
	if unix.SetNonblock(helperConn, true) != nil {
		return
	}
	conn, file := os.NewFile(helperConn, helperName), os.NewFile(helperFile, "context")
	var o Options
	orders := bufio.NewReaderSize(conn, maxMessage)
	line, err := orders.ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &o) != nil {
		return
	}
	h := &helper{o: o, conn: conn, file: file}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, orders) // there is nothing more, until the other end is closed
		close(ended)
	}()
	if err := netif.In(o.Netns, func() error { return h.run(confine, ended) }); err != nil {
		h.send(message{Told: &Told{Problems: []string{err.Error()}}})
	}
}

// helper is the process that samples.
type helper struct {
	o    Options
	conn *os.File
	file *os.File
	deaf bool // nobody reads what is told
}

// sendPatience is how long the capture may take to read what is told. It is not told
// more when it takes longer: nothing here may wait for it.
const sendPatience = 100 * time.Millisecond

func (h *helper) send(m message) {
	if h.deaf && m.Told == nil {
		return
	}
	text, err := json.Marshal(m)
	if err != nil || len(text) >= maxMessage {
		return
	}
	_ = h.conn.SetWriteDeadline(time.Now().Add(sendPatience))
	_, err = h.conn.Write(append(text, '\n'))
	h.deaf = err != nil
}

// run looks until the capture has ended. It is called in a thread of the namespace.
func (h *helper) run(confine func() error, ended <-chan struct{}) error {
	o := &observer{netns: h.o.Netns, root: os.Geteuid() == 0, problems: map[string]bool{}}
	var err error
	if o.diag, err = openDumper(unix.NETLINK_SOCK_DIAG); err != nil {
		return err
	}
	defer o.diag.close()
	if o.route, err = openDumper(unix.NETLINK_ROUTE); err != nil {
		return err
	}
	defer o.route.close()
	_ = confine()
	s := newSampler(o, func(socket *Socket) {
		if h.o.Tell {
			h.send(message{Socket: socket})
		}
	})
	d := &Document{SchemaVersion: SchemaVersion, Host: h.o.Host, Session: h.o.Session, Capture: h.o.Capture, Started: time.Now().UTC()}
	s.sample()
	d.Start = o.look()
	o.filterRules(d.Start)
	first, werr := h.begin(d, s, o)
	h.send(message{Ready: true})
	h.sampleUntil(ended, s)
	d.Ended = time.Now().UTC()
	s.sample()
	d.End = o.look()
	o.filterRules(d.End)
	if d.End.NFTables == d.Start.NFTables {
		d.End.NFTables = "" // as at the start
	}
	if d.End.IPTables == d.Start.IPTables {
		d.End.IPTables = ""
	}
	d.Complete = true
	told := &Told{Sockets: s.did.SocketsSeen, Named: s.did.SocketsNamed, Complete: true}
	size, err := h.write(d, s, o)
	if err != nil {
		told.Complete = false
		o.problem("write the context: %v", err)
		size = h.restore(first)
	} else if werr != nil {
		o.problem("write the context: %v", werr)
	}
	told.Size, told.Problems = size, sortedProblems(o)
	h.send(message{Told: told})
	return nil
}

func (h *helper) sampleUntil(ended <-chan struct{}, s *sampler) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case now := <-tick.C:
			if s.due(now) {
				s.sample()
			}
		}
	}
}

// begin writes what is known at the start: whatever happens, that is there. It is
// overwritten in the end.
func (h *helper) begin(d *Document, s *sampler, o *observer) ([]byte, error) {
	text, err := h.encode(d, s, o)
	if err != nil {
		return nil, err
	}
	_, err = h.file.WriteAt(text, 0)
	return text, err
}

func (h *helper) encode(d *Document, s *sampler, o *observer) ([]byte, error) {
	d.Sampling, d.Sockets, d.Problems, d.Counters = s.did, s.list(), sortedProblems(o), []Moved{}
	// What is so for every user but root is no fault, and is told here only.
	if s.f.denied {
		d.Problems = append(d.Problems, "the programs of other users cannot be seen: only root may look at them")
	}
	if !o.root {
		d.Problems = append(d.Problems, "the rules of packet filters cannot be read: only root may")
	}
	if d.End != nil {
		d.Counters = moved(d.Start.Counters, d.End.Counters)
	}
	return encode(d)
}

// write writes the whole document.
func (h *helper) write(d *Document, s *sampler, o *observer) (int64, error) {
	text, err := h.encode(d, s, o)
	if err != nil {
		return 0, err
	}
	if _, err := h.file.WriteAt(text, 0); err != nil {
		return 0, err
	}
	return int64(len(text)), h.file.Truncate(int64(len(text)))
}

// restore brings the document of the start back, whose space the file has already.
func (h *helper) restore(first []byte) int64 {
	size := int64(len(first))
	if _, err := h.file.WriteAt(first, 0); err != nil {
		size = 0
	}
	_ = h.file.Truncate(size)
	return size
}

func sortedProblems(o *observer) []string {
	list := make([]string, 0, len(o.problems))
	for p := range o.problems {
		list = append(list, cut(cleanText(p), 1<<10))
	}
	slices.Sort(list)
	return list
}
