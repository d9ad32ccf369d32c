package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"pcapctl/capture"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/registry"
	"pcapctl/capture/testnet"
	"pcapctl/storage/azblob/blobtest"
)

// shape is a kind of capture: a row of the fault table.
type shape struct {
	name   string
	flags  []string
	file   string // of the capture, in the captures folder; "" for a blob only
	ring   bool   // several files, of which the newest are kept
	blob   bool
	behind bool // in the background
	frames int
	size   int // bytes of a frame

	likePcap bool // but for the file
}

var shapes = []shape{
	{name: "pcap", file: "x.cap", frames: 1200, size: 1000},
	{name: "pcapng", file: "x.pcapng", flags: []string{"--format", "pcapng"}, frames: 1200, size: 1000, likePcap: true},
	{name: "zstd", file: "x.cap.zst", flags: []string{"--compress", "zstd"}, frames: 1200, size: 1000, likePcap: true},
	{name: "ring", file: "x.cap", ring: true, frames: 1600, size: 1000, likePcap: true, flags: []string{
		"--continuous-capture", "true", "--capture-settings", "file-count=3", "file-size-in-bytes=204800",
	}},
	{name: "blob", blob: true, frames: 3300, size: 1400}, // a block and a bit
	{name: "background", file: "x.cap", behind: true, frames: 1200, size: 1000},
}

// errnos are the columns of the table.
var errnos = []unix.Errno{unix.EIO, unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EINTR, unix.EMFILE, unix.ENOMEM}

// outcome of a session whose system call failed.
type ending int

const (
	unharmed   ending = iota // exit code 0, every packet is in the file, and the session is listed as complete
	unlisted                 // the same, and the session is in no list, which is said
	unrecorded               // the same, and the end of the session is not in its record, which is said
	refused                  // an exit code that says why, and nothing is left behind
	broken                   // an exit code that says why; every packet is in the file or counted, and the session is listed as failed
	unsaid                   // the capture is complete, but its result could not be written
	orphaned                 // whoever had the session started could not be told: it ends by itself
)

func (e ending) String() string {
	return []string{"unharmed", "unlisted", "unrecorded", "refused", "broken", "unsaid", "orphaned"}[e]
}

// expected is what may become of a session.
type expected struct {
	ending ending
	codes  []int
}

func fine(list ...ending) (all []expected) {
	for _, e := range list {
		all = append(all, expected{e, []int{0}})
	}
	return all
}

func or(lists ...[]expected) []expected { return slices.Concat(lists...) }

func refusedWith(codes ...int) []expected { return []expected{{refused, codes}} }
func brokenWith(codes ...int) []expected  { return []expected{{broken, codes}} }

// rule is a line of the specification: what becomes of a session when system
// calls of these kinds fail there. An empty field is anything; the targets are patterns
// of path.Match. The first rule that fits counts.
type rule struct {
	phases  []phase
	roles   []string
	kinds   []string
	targets []string
	becomes func(r *faultRun) []expected
	// says is what a session that is not refused must have said; nil is anything.
	says func(r *faultRun) string
}

func always(list []expected) func(*faultRun) []expected {
	return func(*faultRun) []expected { return list }
}

// interruptible are the kinds of calls that EINTR must do no harm to: those that
// signal(7) and their pages name, and all of files, which file systems in user
// space and of networks interrupt.
var interruptible = strings.Fields("write read fsync create open mkdir rename unlink send receive lock stat statfs fallocate ftruncate poll")

// specification is what must come of a fault, by what it hits.
var specification = []rule{
	// A signal comes at any moment.
	{kinds: interruptible, becomes: func(r *faultRun) []expected {
		if r.errno != unix.EINTR {
			return nil
		}
		return fine(unharmed)
	}},
	// The guard is there for a kill, and nothing else needs it.
	{roles: []string{"guard"}, becomes: always(fine(unharmed))},
	// So is what looks for the end of a network namespace, which these captures do not see.
	{roles: []string{"netns"}, becomes: always(fine(unharmed))},
	// What is only said.
	{targets: []string{"stderr"}, becomes: always(fine(unharmed))},
	{kinds: []string{"write"}, targets: []string{"stdout"}, becomes: always([]expected{{unsaid, []int{1}}})},

	// The state folder: in the foreground a capture matters more than its entry in a
	// list, in the background it cannot do without. What is not needed for the lock,
	// the record and its space is left.
	{phases: []phase{starting}, kinds: []string{"fsync"}, targets: []string{"state"}, becomes: always(fine(unharmed))},
	{phases: []phase{starting}, kinds: []string{"open", "stat", "lock"}, targets: []string{"state", "state/.new-[*]", "state/x", "state/.new-[*]/*"},
		becomes: func(r *faultRun) []expected { return or(fine(unharmed), stateFails(r), ifBlob(r, refusedWith(7))) }},
	{phases: []phase{starting}, kinds: []string{"mkdir"}, targets: []string{"state"}, becomes: func(r *faultRun) []expected {
		if r.shape.blob { // the spool lies in it
			return or(stateFails(r), refusedWith(7))
		}
		return stateFails(r)
	}},
	{phases: []phase{starting}, targets: []string{"state", "state/.new-[*]", "state/.new-[*]/*"}, becomes: stateFails},
	{phases: []phase{starting}, kinds: []string{"rename"}, targets: []string{"state/x"}, becomes: stateFails},
	{targets: []string{"state/x/ring", "state/x/log"}, becomes: always(fine(unharmed))},
	{phases: []phase{capturing, closing}, targets: []string{"state", "state/x", "state/x/*"}, becomes: always(fine(unharmed, unrecorded))},

	// The capture file, or that of the spool.
	{phases: []phase{starting}, kinds: []string{"mkdir"}, targets: []string{"state/.spool"}, becomes: always(refusedWith(7))},
	{phases: []phase{starting}, kinds: []string{"create", "rename"}, targets: []string{"captures/*", "state/.spool/*"}, becomes: always(refusedWith(7))},
	{phases: []phase{starting}, kinds: []string{"write"}, targets: []string{"captures/*", "state/.spool/*"}, becomes: always(refusedWith(7))},
	{kinds: []string{"create"}, targets: []string{"captures", "state/.spool"}, becomes: always(fine(unharmed))}, // O_TMPFILE, without which it is another way
	{kinds: []string{"lock", "statfs"}, targets: []string{"captures", "captures/*", "state/.spool", "state/.spool/*"}, becomes: always(fine(unharmed))},
	{phases: []phase{starting}, kinds: []string{"open", "stat", "read", "lseek"}, targets: []string{"captures", "captures/*", "state/.spool", "state/.spool/*"},
		becomes: func(r *faultRun) []expected {
			if r.lasts { // which is in the end as well
				return or(fine(unharmed), refusedWith(7), brokenWith(7, 8))
			}
			return or(fine(unharmed), refusedWith(7))
		}},
	{kinds: []string{"unlink"}, targets: []string{"state/.spool", "state/.spool/*"}, becomes: always(fine(unharmed))},
	{kinds: []string{"write", "fsync", "create", "rename", "unlink"}, targets: []string{"captures", "captures/*", "state/.spool/*"}, becomes: always(brokenWith(7))},
	{kinds: []string{"open", "stat", "read"}, targets: []string{"captures", "captures/*"}, becomes: always(or(fine(unharmed), brokenWith(7)))},
	{kinds: []string{"fsync"}, targets: []string{"state/.spool"}, becomes: always(brokenWith(7))},
	{kinds: []string{"open", "stat"}, targets: []string{"state/.spool"}, becomes: always(or(fine(unharmed), brokenWith(7)))},
	{kinds: []string{"open", "stat", "read", "lseek"}, targets: []string{"state/.spool/*"}, becomes: always(or(fine(unharmed), brokenWith(7, 8)))},
	{kinds: []string{"fallocate"}, targets: []string{"state/.spool/*"}, becomes: always(fine(unharmed))},
	{targets: []string{"above", "."}, becomes: always(or(fine(unharmed, unlisted), refusedWith(1, 2, 7), brokenWith(7)))},

	// The guard: without it the capture goes on, and says so.
	{targets: []string{"guard socket", "pcap-guard", "/memfd:pcap-guard"}, becomes: always(fine(unharmed)), says: func(r *faultRun) string {
		if r.site.phase == starting && r.errno != unix.EINTR {
			return "a kill -9 may leave its last packet cut"
		}
		return ""
	}},

	// The kernel's ring.
	{kinds: []string{"poll"}, becomes: always(brokenWith(6))},
	{phases: []phase{starting}, targets: []string{"packet socket", "PACKET_VERSION", "PACKET_RX_RING", "PACKET_ADD_MEMBERSHIP", "SO_ATTACH_FILTER"}, becomes: ringFails},
	{targets: []string{"PACKET_STATISTICS"}, becomes: always(fine(unharmed)), says: func(r *faultRun) string {
		if r.lasts {
			return "there may be more than are counted"
		}
		return ""
	}},
	// The filter that refuses all, and the binding to nothing: one of them will do.
	{kinds: []string{"bind", "setsockopt"}, targets: []string{"packet socket", "SO_ATTACH_FILTER"}, becomes: always(fine(unharmed))},

	// The interfaces: without a list of them nothing can be planned; later on they are
	// only looked at.
	{phases: []phase{starting}, targets: []string{"netlink socket"}, becomes: always(or(fine(unharmed), refusedWith(1)))},
	{targets: []string{"netlink socket"}, becomes: always(fine(unharmed))},

	// The storage account.
	{phases: []phase{starting}, targets: []string{"connection"}, becomes: always(or(fine(unharmed), refusedWith(8)))},
	{targets: []string{"connection"}, becomes: always(or(fine(unharmed), brokenWith(8)))},

	// The background process and who starts it.
	{kinds: []string{"pipe"}, becomes: func(r *faultRun) []expected { return or(fine(unharmed), refusedWith(1)) }},
	{phases: []phase{starting}, roles: []string{"worker"}, kinds: []string{"write"}, targets: []string{"pipe"}, becomes: always([]expected{{orphaned, []int{1}}})},
	{phases: []phase{starting}, targets: []string{"pipe"}, becomes: always(or(fine(unharmed), refusedWith(1), []expected{{orphaned, []int{1}}}))},

	// This machine's settings and names, and descriptors that were inherited.
	{phases: []phase{starting}, targets: []string{"/proc/self/fd/3"}, becomes: always(refusedWith(2))},
	{phases: []phase{starting}, kinds: []string{"stat"}, targets: []string{"/proc/self/fd"}, becomes: always(fine(unharmed))},
	{phases: []phase{starting}, targets: []string{"/proc/self/fd", "/proc/PID/fd"}, becomes: always(refusedWith(1))},
	{phases: []phase{starting}, kinds: []string{"open", "stat"}, targets: []string{"/", "/etc", "/etc/pcapctl", "config", "config/pcapctl"}, becomes: always(or(fine(unharmed), refusedWith(1, 2)))},
	{phases: []phase{starting}, targets: []string{"*config.yaml", "/*/config.yaml", "/*/*/config.yaml", "config/pcapctl/config.yaml"}, becomes: always(or(fine(unharmed), refusedWith(2)))},
	{phases: []phase{starting}, kinds: []string{"open"}, targets: []string{"/dev/null"}, becomes: always(or(fine(unharmed), refusedWith(1)))},
	{phases: []phase{starting}, kinds: []string{"open", "read", "stat"}, targets: []string{"/etc/*", "/usr/share/zoneinfo/*/*", "/sys/class/dmi/id/*", "/proc/*", "/proc/*/*/*", "/proc/*/*/*/*/*", "/proc/*/*", "/proc/*/*/*/*"},
		becomes: always(or(fine(unharmed)))},
	{targets: []string{"/proc/*/*/*", "/proc/*/*"}, becomes: always(fine(unharmed))},
	// What a confined capture may read: where a rule of Landlock cannot be made, there is no Landlock.
	{phases: []phase{starting}, kinds: []string{"open", "stat"}, targets: []string{"/etc/*/*", "/etc/*/*/*", "/usr/*/*", "/usr/*/*/*", "/var/lib/*"}, becomes: always(fine(unharmed))},
}

// stateFails is what comes of a state folder that cannot be used.
func stateFails(r *faultRun) []expected {
	if !r.shape.behind {
		return fine(unlisted)
	}
	switch r.errno {
	case unix.EROFS:
		return refusedWith(3)
	case unix.ENOSPC, unix.EDQUOT:
		return refusedWith(7)
	default:
		return refusedWith(1)
	}
}

// ringFails is what comes of a ring that the kernel does not give.
func ringFails(r *faultRun) []expected {
	switch r.errno {
	case unix.ENOMEM, unix.EMFILE:
		return refusedWith(6)
	default:
		return refusedWith(1)
	}
}

func ifBlob(r *faultRun, list []expected) []expected {
	if r.shape.blob {
		return list
	}
	return nil
}

// becomesOf is what the specification says of a run: what may become of it, nil when there
// is no rule, and what it must say.
func becomesOf(r *faultRun) (list []expected, says string) {
	for _, rule := range specification {
		in := func(list []string, s string) bool { return list == nil || slices.Contains(list, s) }
		if rule.phases != nil && !slices.Contains(rule.phases, r.site.phase) || !in(rule.roles, r.site.role) || !in(rule.kinds, r.site.kind) {
			continue
		}
		if rule.targets != nil && !slices.ContainsFunc(rule.targets, func(p string) bool { ok, _ := path.Match(p, r.site.target); return ok }) {
			continue
		}
		if list = rule.becomes(r); list == nil {
			continue
		}
		if rule.says != nil {
			says = rule.says(r)
		}
		return list, says
	}
	return nil, ""
}

// faultRun is one capture with a fault, or with none.
type faultRun struct {
	lane  *lane
	shape *shape
	injection
	dir      string
	blobName string
	cmd      *exec.Cmd
	env      []string
	in       *injector
	exited   chan struct{}

	begun  bool // packets were being captured
	sent   int
	hangs  string // what did not end
	code   int
	out    lockedBuffer
	err    lockedBuffer
	logged string
	wrongs []string
}

// lane is a machine on which one run is made after the other.
type lane struct {
	*host
	sender *testnet.Sender
	a      *blobtest.Azurite
	p      *blobtest.Proxy
	n      int
}

// newLane makes a lane; a is nil for one without a storage account.
func newLane(t *testing.T, a *blobtest.Azurite) *lane {
	t.Helper()
	l := &lane{host: newHost(t), a: a}
	must(t, os.Link(l.path("pcapctl"), l.path(launcherName)))
	l.sender = l.Sender("v0")
	if a == nil {
		return l
	}
	var listener net.Listener
	var err error
	l.Do(func() { listener, err = net.Listen("tcp", "127.0.0.1:0") })
	must(t, err)
	l.p = blobtest.NewProxy(t, a, listener, nil)
	l.env = append(l.env, "PCAPCTL_BLOB_ENDPOINT="+a.Endpoint(l.p.Addr), "AZURE_STORAGE_KEY="+a.Key, "AZURE_STORAGE_SAS_TOKEN=",
		"AZURE_STORAGE_CONNECTION_STRING=")
	return l
}

// runFor is how long a part of a run may take: far more than it does, as a machine
// may be busy.
const runFor = 30 * time.Second

// start starts a capture, with a fault if f is not nil, and watches calls of these
// kinds. ready gives what comes from --ready-fd when that is closed.
func (l *lane) start(s *shape, f *injection, kinds ...string) (r *faultRun, ready <-chan string) {
	t := l.t
	t.Helper()
	l.n++
	r = &faultRun{lane: l, shape: s, dir: l.path(fmt.Sprint("run", l.n)), exited: make(chan struct{})}
	if f != nil {
		r.injection = *f
	}
	must(t, os.MkdirAll(r.path("captures"), 0o700))
	grace := "60s"
	if r.site.target == socketName(unix.AF_INET) {
		grace = "1s" // with a connection that fails for good nobody need wait long
	}
	r.env = append(slices.Clone(l.env), "PCAPCTL_UPLOAD_GRACE="+grace, "PCAPCTL_CAPTURES_DIR="+r.path("captures"), "PCAPCTL_STATE_DIR="+r.path("state"), "XDG_CONFIG_HOME="+r.path("config"))
	args := []string{"create", "-n", "x", "-i", "v1", "--buffer-size", "16MiB", "--min-free", "0", "--ready-fd", "3"}
	switch {
	case s.blob:
		r.blobName = fmt.Sprintf("captures/%s-%d.cap", l.Name, l.n)
		args = append(args, "--storage-account", testAccountID, "--storage-path", l.a.Endpoint(l.p.Addr)+"/"+r.blobName)
	case s.ring:
		args = append(args, "--local-path", r.path("captures/"+s.file))
	default:
		args = append(args, "--file-path", r.path("captures/"+s.file))
	}
	if s.behind {
		args = append(args, "--no-wait")
	}
	r.cmd = l.command(append(args, s.flags...)...)
	r.cmd.Env = r.env
	ours, theirs, err := os.Pipe()
	must(t, err)
	r.cmd.ExtraFiles = []*os.File{theirs}
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.err
	r.in = newInjector(t, r.dir, f)
	must(t, r.in.start(r.cmd, 4, l.path(launcherName), kinds...))
	_ = theirs.Close()
	go func() { _ = r.cmd.Wait(); close(r.exited) }()
	told := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(ours)
		_ = ours.Close()
		told <- string(text)
	}()
	return r, told
}

// run makes a capture from its beginning to its end. The arguments are those of
// start.
func (l *lane) run(s *shape, f *injection, kinds ...string) *faultRun {
	l.t.Helper()
	r, ready := l.start(s, f, kinds...)
	select {
	case text := <-ready:
		r.begun = text != ""
	case <-time.After(runFor):
		r.hangs = "the start"
	}
	if s.behind {
		r.waitExit()
		r.begun = r.begun || r.holds()
	}
	// The descriptor for it may be what fails.
	for !s.behind && !r.begun && !r.ended() && r.hangs == "" {
		r.begun = strings.Contains(r.err.String(), "pcapctl: capturing on")
		time.Sleep(time.Millisecond)
	}
	if r.begun {
		r.capture()
	}
	r.waitExit()
	if r.hangs != "" {
		r.in.killAll()
		<-r.exited
	}
	r.code = r.cmd.ProcessState.ExitCode()
	if !r.in.ended(runFor) {
		r.hangs = cmp.Or(r.hangs, "a process in the background")
		r.in.killAll()
		<-r.in.done
	}
	if s.behind && r.begun && r.code == 0 { // wait has the session's
		if s := r.session(); s != nil {
			r.code = exitCode(s.Failure())
		}
	}
	return r
}

func (r *faultRun) path(name string) string { return filepath.Join(r.dir, name) }

func (r *faultRun) registry() *registry.Registry { return registry.New(r.path("state")) }

// holds tells whether a process of the session captures.
func (r *faultRun) holds() bool {
	s, err := r.registry().Get("x")
	return err == nil && s.Alive
}

// session is the session when all its processes have ended, nil for none. They let go
// of the injector a moment before they let go of its lock (do_exit).
func (r *faultRun) session() *registry.Session {
	for deadline := time.Now().Add(runFor); ; time.Sleep(time.Millisecond) {
		s, err := r.registry().Get("x")
		switch {
		case errors.Is(err, registry.ErrUnknown):
			return nil
		case err != nil:
			r.wrong("the session: %v", err)
			return nil
		case !s.Alive || time.Now().After(deadline):
			return s
		}
	}
}

func (r *faultRun) waitExit() {
	if r.hangs != "" {
		return
	}
	select {
	case <-r.exited:
	case <-time.After(runFor):
		r.hangs = "the command"
	}
}

// capture is what happens while packets are captured, and how that ends. All
// packets are in the kernel's ring when the capture is asked to end, however busy
// the machine; it is waited a little only so that most of them are written before,
// and something can fail in between.
func (r *faultRun) capture() {
	l, s := r.lane, r.shape
	r.in.enter(capturing)
	l.sendFrames(s)
	r.sent = s.frames
	for deadline := time.Now().Add(400 * time.Millisecond); time.Now().Before(deadline) && !r.wrote() && !r.ended(); time.Sleep(2 * time.Millisecond) {
	}
	r.in.enter(closing)
	if !s.behind {
		_ = r.cmd.Process.Signal(unix.SIGTERM)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), runFor)
	defer cancel()
	if _, _, err := r.registry().Stop(ctx, "x"); err != nil {
		r.hangs = "stop: " + err.Error()
	}
}

// sendFrames sends the frames of a run, not faster than they can be taken.
func (l *lane) sendFrames(s *shape) {
	frame := make([]byte, s.size)
	for i := range s.frames {
		copy(frame, numbered(i))
		l.sender.Send(frame)
		if i%400 == 399 {
			time.Sleep(2 * time.Millisecond)
		}
	}
}

func (r *faultRun) ended() bool {
	select {
	case <-r.exited:
		return !r.shape.behind
	default:
		return false
	}
}

// wrote tells whether a good part of what was sent is in files.
func (r *faultRun) wrote() bool {
	if r.shape.ring {
		files, _ := filepath.Glob(r.path("captures/*_00000[4-9].cap"))
		return files != nil
	}
	size := int64(0)
	for _, file := range r.files() {
		if st, err := os.Stat(file); err == nil {
			size += st.Size()
		}
	}
	if strings.HasSuffix(r.shape.file, ".zst") {
		return size > 1000
	}
	return size > int64(r.shape.frames*r.shape.size)*3/4
}

// files are the capture files there are.
func (r *faultRun) files() []string {
	var list []string
	for _, dir := range []string{"captures/*", "state/.spool/*"} {
		files, _ := filepath.Glob(r.path(dir))
		list = append(list, files...)
	}
	return list
}

// wrong notes what is not as it must be.
func (r *faultRun) wrong(format string, args ...any) {
	r.wrongs = append(r.wrongs, fmt.Sprintf(format, args...))
}

// check holds a run against what the specification has of it.
func (r *faultRun) check(list []expected) {
	if list == nil {
		r.wrong("the specification has no rule for it")
		return
	}
	if r.hangs != "" {
		r.wrong("hangs: %s", r.hangs)
		return
	}
	session := r.session()
	as, found := r.endedAs(session)
	if i := slices.IndexFunc(list, func(e expected) bool { return e.ending == as && slices.Contains(e.codes, r.code) }); !found || i < 0 {
		r.wrong("%s with exit code %d, want %v", as, r.code, list)
	}
	if as == broken || as == refused || as == unsaid || as == orphaned {
		if !strings.Contains(r.err.String(), "pcapctl: ") && !strings.Contains(r.err.String(), `"error"`) {
			r.wrong("no word of what went wrong")
		}
	}
	stats := r.statistics(session)
	switch {
	case as == refused:
		if files := r.files(); files != nil {
			r.wrong("left behind: %v", files)
		}
		if b := r.blob(); b != nil {
			r.wrong("a blob was made")
		}
	case as == orphaned:
		for _, file := range r.files() {
			_, _ = r.numbers(file)
		}
	case stats == nil:
		r.wrong("no result")
	default:
		r.account(as, stats)
	}
	r.leftovers(session)
}

// endedAs tells what became of the session.
func (r *faultRun) endedAs(s *registry.Session) (ending, bool) {
	failed := s != nil && s.Record != nil && s.Record.Resource.Properties.PacketCaptureStatus != capture.StatusStopped
	lost := s != nil && s.State == registry.Lost
	says := r.err.String() + r.log()
	switch {
	case !r.begun && s != nil && r.shape.behind:
		return orphaned, true
	case !r.begun:
		return refused, s == nil && r.code != 0
	case s == nil && r.code == 0:
		return unlisted, strings.Contains(says, "this capture is in no list")
	case lost && (r.code == 0 || r.shape.behind):
		r.code = 0
		return unrecorded, strings.Contains(says, "write the end of the session")
	case r.code == 0 && !failed, r.shape.behind && s != nil && !failed && r.code == 0:
		return unharmed, true
	case r.code == 1 && !failed:
		return unsaid, true
	case s == nil:
		return broken, strings.Contains(says, "this capture is in no list")
	default:
		return broken, failed
	}
}

// log is what the background process wrote, also when the session has been deleted.
func (r *faultRun) log() string {
	if text, err := os.ReadFile(r.path("state/x/log")); err == nil {
		r.logged = string(text)
	}
	return r.logged
}

// statistics are those of the result, or else of the record.
func (r *faultRun) statistics(s *registry.Session) *capture.Statistics {
	var res capture.Resource
	if !r.shape.behind && json.Unmarshal([]byte(r.out.String()), &res) == nil && res.Properties.Statistics != nil {
		return res.Properties.Statistics
	}
	if s != nil && s.Record != nil {
		return s.Record.Resource.Properties.Statistics
	}
	return nil
}

// blob is the content of the run's blob, nil for none.
func (r *faultRun) blob() []byte {
	if r.blobName == "" {
		return nil
	}
	b, _ := r.lane.a.Get(r.blobName)
	return b
}

// account holds the result against the files: every packet that was sent is in a
// file, or in one that has left the ring, or counted.
func (r *faultRun) account(as ending, st *capture.Statistics) {
	counted := int(st.PacketsCaptured + st.PacketsDroppedByKernel + st.PacketsNotWritten)
	sent := r.sent
	if as == broken { // before the last were sent, perhaps
		sent = min(sent, int(st.PacketsReceived))
	}
	if as != unrecorded && counted != sent {
		r.wrong("%d packets sent, %d captured, %d dropped by the kernel, %d not written (%d received)",
			r.sent, st.PacketsCaptured, st.PacketsDroppedByKernel, st.PacketsNotWritten, st.PacketsReceived)
	}
	if as == unharmed && st.PacketsNotWritten > 0 {
		r.wrong("%d packets were not written", st.PacketsNotWritten)
	}
	var all []int
	paths := map[string]bool{}
	for _, file := range st.Files {
		paths[file.Path] = true
		list, err := r.numbers(file.Path)
		if err != nil && (as != broken || !strings.HasSuffix(file.Path, ".zst")) {
			r.wrong("%s: %v", file.Path, err)
		}
		if err == nil && r.lane.n%capinfosEvery == 0 {
			r.askCapinfos(file.Path, len(list))
		}
		if file.Packets != nil && int(*file.Packets) != len(list) {
			r.wrong("%s has %d packets, told are %d", file.Path, len(list), *file.Packets)
		}
		all = append(all, list...)
	}
	if len(st.Blobs) > 0 {
		var err error
		if all, err = numbersOf(bytes.NewReader(r.blob())); err != nil {
			r.wrong("the blob: %v", err)
		}
	}
	for _, file := range r.files() {
		if !paths[file] && !strings.Contains(strings.Join(st.Warnings, " "), file+": it is another file") {
			r.wrong("left behind: %s", file)
		}
	}
	for i, n := range all {
		if i > 0 && n != all[i-1]+1 {
			r.wrong("packet %d stands behind %d", n, all[i-1])
			break
		}
	}
	first := 0
	if r.shape.ring && len(all) > 0 {
		first = all[0]
	}
	if len(all) > 0 && all[0] != first || first+len(all) != int(st.PacketsCaptured) && as != unrecorded {
		r.wrong("%d packets captured; in files are %d", st.PacketsCaptured, len(all))
	}
	if r.code == 8 {
		r.resume(st)
	}
}

// capinfosEvery is how many runs there are for one whose files another reader than ours
// reads as well.
const capinfosEvery = 10

// askCapinfos wants capinfos to find n packets in a file that is whole.
func (r *faultRun) askCapinfos(path string, n int) {
	out, err := exec.Command("capinfos", "-c", "-M", path).CombinedOutput()
	words := strings.Fields(string(out))
	if err != nil || bytes.Contains(out, []byte("cut short")) || words[len(words)-1] != strconv.Itoa(n) {
		r.wrong("capinfos, with %d packets: %v: %s", n, err, out)
	}
}

// resume finishes an upload.
func (r *faultRun) resume(st *capture.Statistics) {
	if len(st.Files) != 1 {
		r.wrong("the local copy is not named: %+v", st.Files)
		return
	}
	local, err := os.ReadFile(st.Files[0].Path)
	if err != nil {
		r.wrong("the local copy: %v", err)
	}
	up := r.lane.command("upload", "x")
	up.Env = append(slices.Clone(r.env), "PCAPCTL_UPLOAD_GRACE=60s")
	if o := runCmd(r.lane.t, up); o.code != 0 {
		r.wrong("upload: %+v", o)
	}
	if !bytes.Equal(r.blob(), local) {
		r.wrong("the blob differs from the local copy")
	}
}

// leftovers looks at what lies around when the session is over, and whether its
// name can be had again.
func (r *faultRun) leftovers(s *registry.Session) {
	if s != nil {
		if _, err := r.registry().Delete(context.Background(), "x", false); err != nil {
			r.wrong("delete: %v", err)
		}
	}
	entries, _ := os.ReadDir(r.path("state"))
	for _, e := range entries {
		if e.Name() != ".spool" {
			r.wrong("left in the state folder: %s", e.Name())
		}
	}
}

// numbers are those of the frames in a file, which must be whole.
func (r *faultRun) numbers(path string) ([]int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	switch filepath.Ext(path) {
	case ".zst":
		d, err := zstd.NewReader(f)
		if err != nil {
			return nil, err
		}
		defer d.Close()
		return numbersOf(d)
	case ".gz":
		d, err := gzip.NewReader(f)
		if err != nil {
			return nil, err
		}
		return numbersOf(d)
	}
	return numbersOf(f)
}

func numbersOf(from io.Reader) (list []int, err error) {
	r, err := pcapfile.NewReader(from)
	for err == nil {
		var p pcapfile.Packet
		if err = r.Next(&p); err == nil {
			if len(p.Data) < 18 {
				return list, fmt.Errorf("packet %d has %d bytes", len(list), len(p.Data))
			}
			list = append(list, int(binary.BigEndian.Uint32(p.Data[14:])))
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return list, err
}

// cell is a cell of the table.
type cell struct{ shape, kind, errno string }

type count struct{ runs, reached, wrong int }

// faultTable collects what came of the runs.
type faultTable struct {
	mu    sync.Mutex
	cells map[cell]*count
	runs  int
	sites map[string]bool // that were reached

	called map[string]bool // shapes and kinds of calls that are made in them
}

func (ft *faultTable) note(s *shape, f *injection, reached, wrong bool) {
	ft.mu.Lock()
	defer ft.mu.Unlock()
	key := cell{s.name, f.site.kind, unix.ErrnoName(f.errno)}
	c := ft.cells[key]
	if c == nil {
		c = &count{}
		ft.cells[key] = c
	}
	ft.runs++
	c.runs++
	if reached {
		c.reached++
		ft.sites[s.name+" "+f.site.String()] = true
	}
	if wrong {
		c.wrong++
	}
}

// job is a fault to be made.
type job struct {
	shape *shape
	injection
}

// TestFaultTable makes every kind of system call fail in every kind of capture,
// with every error, and holds what comes of it against the specification above.
func TestFaultTable(t *testing.T) {
	if testing.Short() {
		t.Skip("takes more than a minute")
	}
	canInject(t)
	testnet.NeedTools(t, "capinfos")
	each := 1
	if text := os.Getenv("PCAPCTL_TEST_FAULTS"); text != "" {
		var err error
		each, err = strconv.Atoi(text)
		must(t, err)
	}
	a := blobtest.Start(t)
	a.Container("captures")
	kinds := slices.Sorted(maps.Keys(callKinds))
	ft := &faultTable{cells: map[cell]*count{}, sites: map[string]bool{}, called: map[string]bool{}}
	first := newLane(t, a)
	var jobs []job
	for i := range shapes {
		s := &shapes[i]
		r := first.run(s, nil, kinds...)
		if r.check(fine(unharmed)); r.wrongs != nil {
			t.Fatalf("%s without a fault: %s\n%s%s", s.name, strings.Join(r.wrongs, "; "), &r.err, &r.out)
		}
		for at := range r.in.calls {
			ft.called[s.name+" "+at.kind] = true
		}
		jobs = append(jobs, plan(s, r.in.calls, each)...)
	}
	only := os.Getenv("PCAPCTL_TEST_FAULTS_ONLY")
	queue := make(chan job, len(jobs))
	for _, j := range jobs {
		if strings.Contains(j.shape.name+" "+j.String(), only) {
			queue <- j
		}
	}
	close(queue)
	t.Logf("%d faults to be made", len(queue))
	t.Run("lanes", func(t *testing.T) {
		for i := range lanes {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				l := newLane(t, a)
				for j := range queue {
					l.do(ft, j)
				}
			})
		}
	})
	ft.report(t)
}

// lanes is how many runs are made at a time.
const lanes = 4

// do makes a fault, and tells what came of it.
func (l *lane) do(ft *faultTable, j job) {
	f := j.injection
	var r *faultRun
	// How often a call is made depends on how packets fall into blocks: when there
	// were fewer, an earlier one is taken, and the first may not come at all.
	for again := 3; ; f.nth = (f.nth + 1) / 2 {
		r = l.run(j.shape, &f, f.site.kind)
		if r.in.deliveries() > 0 || again == 0 {
			break
		}
		if f.nth == 1 {
			again--
		}
		_ = os.RemoveAll(r.dir)
	}
	reached := r.in.deliveries() > 0
	if reached {
		list, says := becomesOf(r)
		r.check(list)
		if r.begun && !strings.Contains(r.err.String()+r.log(), says) {
			r.wrong("it does not say %q", says)
		}
	} else {
		r.check(fine(unharmed))
	}
	ft.note(j.shape, &j.injection, reached, r.wrongs != nil)
	if r.wrongs != nil {
		l.t.Errorf("%s: %s: %s\n%s%s", j.shape.name, f, strings.Join(r.wrongs, "; "), tail(r.err.String()), tail(r.log()))
	}
	_ = os.RemoveAll(r.dir)
}

func tail(text string) string { return text[max(0, len(text)-1500):] }

// plan chooses the faults of a capture by the calls that it made without one. Of each
// site there are the first call, one in the middle and the last, with each error once, and
// all from the first on. each is how many of these are taken of a site, 0 for all;
// they are taken in turn, so that every error is met in every kind of call.
func plan(s *shape, calls map[site]int, each int) (jobs []job) {
	byKind := map[string][]site{}
	for at := range calls {
		byKind[at.kind] = append(byKind[at.kind], at)
	}
	for _, kind := range slices.Sorted(maps.Keys(byKind)) {
		sites := byKind[kind]
		slices.SortFunc(sites, func(a, b site) int { return strings.Compare(a.String(), b.String()) })
		n := each
		if each > 1 {
			n = max(each, (len(errnos)+len(sites)-1)/len(sites))
		}
		turn := 0
		for _, at := range sites {
			if each == 1 && s.likePcap && at.phase == starting && !strings.Contains(at.target, "captures/") {
				continue // as with the first of the shapes
			}
			ways := waysToFail(calls[at])
			if each == 0 {
				n = len(ways) * len(errnos)
			}
			for range n {
				f := ways[turn/len(errnos)%len(ways)]
				f.site, f.errno = at, errnos[turn%len(errnos)]
				f.lasts = f.lasts && f.errno != unix.EINTR
				jobs = append(jobs, job{s, f})
				turn++
			}
			if each == 1 && slices.Contains(notRepeated, kind) {
				jobs = append(jobs, job{s, injection{site: at, nth: 1, errno: unix.EINTR}})
			}
		}
	}
	return jobs
}

// notRepeated are the kinds of calls that package os does not repeat for us when a signal
// interrupts them.
var notRepeated = []string{"fallocate", "lock", "rename", "send", "receive", "poll"}

// waysToFail are the injections into a site that is called n times.
func waysToFail(n int) []injection {
	ways := []injection{{nth: 1}, {nth: 1, lasts: true}}
	if n > 1 {
		ways = append(ways, injection{nth: n})
	}
	if n > 2 {
		ways = append(ways, injection{nth: (n + 1) / 2})
	}
	return ways
}

// report prints the table: of each kind of capture and call the runs that reached
// their call, and those that were wrong.
func (ft *faultTable) report(t *testing.T) {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "%-11s", "")
	for _, e := range errnos {
		fmt.Fprintf(&b, "%10s", unix.ErrnoName(e))
	}
	b.WriteString("\n")
	total, reached, wrong, leftOut := 0, 0, 0, 0
	var never []string
	for _, s := range shapes {
		for _, kind := range slices.Sorted(maps.Keys(callKinds)) {
			total += len(errnos)
			if !ft.called[s.name+" "+kind] {
				never = append(never, s.name+" "+kind)
				continue
			}
			line := fmt.Sprintf("%-11s%-11s", s.name, kind)
			for _, e := range errnos {
				c := ft.cells[cell{s.name, kind, unix.ErrnoName(e)}]
				text := "-"
				switch {
				case c == nil || c.reached == 0:
					leftOut++
				default:
					reached++
					text = fmt.Sprint(c.reached)
				}
				if c != nil && c.wrong > 0 {
					wrong++
					text += fmt.Sprintf("!%d", c.wrong)
				}
				line += fmt.Sprintf("%10s", text)
			}
			b.WriteString(line + "\n")
		}
	}
	t.Logf("%d cells: %d reached, %d of them wrong; %d of calls that are never made, %d not made in this form; %d runs, %d sites reached\n%s",
		total, reached, wrong, total-reached-leftOut, leftOut, ft.runs, len(ft.sites), &b)
	t.Logf("not reached, as the call is never made: %s", strings.Join(never, ", "))
}
