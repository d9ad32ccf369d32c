package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"pcapctl/capture"
	"pcapctl/capture/registry"
	"pcapctl/storage/azblob/blobtest"
)

// killedShapes are the captures that are killed.
var killedShapes = []shape{
	{name: "pcap", file: "x.cap"},
	{name: "pcapng", file: "x.pcapng", flags: []string{"--format", "pcapng"}},
	{name: "zstd", file: "x.cap.zst", flags: []string{"--compress", "zstd"}},
	{name: "gzip", file: "x.cap.gz", flags: []string{"--compress", "gzip"}},
	{name: "ring", file: "x.cap", ring: true, flags: []string{
		"--continuous-capture", "true", "--capture-settings", "file-count=3", "file-size-in-bytes=2000000",
	}},
	{name: "background", file: "x.cap", behind: true},
}

// victims are those who are killed.
var victims = []string{"worker", "guard", "both", "all"}

// times is how many runs a test makes: few, or what the environment says.
func times(t *testing.T, variable string, few int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return few
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// TestKillsAtRandom kills the processes of captures under traffic, at any moment from the
// start of the program on: the one that captures, the guard of its files, both, and all
// that there are, as the end of a machine would. The files open and have whole packets,
// the registry tells the truth, and nothing is left that runs.
func TestKillsAtRandom(t *testing.T) {
	canInject(t)
	n := times(t, "PCAPCTL_TEST_KILLS", 32)
	var next, began, files atomic.Int64
	t.Run("lanes", func(t *testing.T) {
		for i := range lanes {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				l := newLane(t, nil)
				defer l.flood()()
				for {
					at := int(next.Add(1)) - 1
					if at >= n {
						return
					}
					s := &killedShapes[at%len(killedShapes)]
					r, after := l.kill(s, victims[at/len(killedShapes)%len(victims)])
					if r.begun {
						began.Add(1)
					}
					files.Add(int64(len(r.files())))
					if r.wrongs != nil {
						t.Errorf("%s, killed the %s %v after the start: %s\n%s", s.name, r.site.role, after, strings.Join(r.wrongs, "; "), tail(r.err.String()+r.log()))
						continue
					}
					must(t, os.RemoveAll(r.dir))
				}
			})
		}
	})
	t.Logf("%d kills, %d of them while packets were captured; %d files looked at", n, began.Load(), files.Load())
}

// jumbo is the size of the frames of a flood: much to write for few packets, so that a kill
// has a good chance to hit a write in its middle.
const jumbo = 9000

// flood sends numbered frames until stop is called.
func (l *lane) flood() (stop func()) {
	for _, dev := range []string{"v0", "v1"} {
		l.IP("link", "set", dev, "mtu", strconv.Itoa(jumbo))
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		frame := make([]byte, jumbo)
		for i := 0; ; i++ {
			copy(frame, numbered(i))
			l.sender.Send(frame)
			if i%15 != 14 {
				continue
			}
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// latest is by when a capture is killed: some time after it has begun, on a machine that
// is not busy, and before it on one that is.
const latest = 250 * time.Millisecond

// kill starts a capture and kills it.
func (l *lane) kill(s *shape, victim string) (r *faultRun, after time.Duration) {
	l.t.Helper()
	after = rand.N(latest)
	r, ready := l.start(s, nil, "memfd")
	r.site.role = victim
	time.Sleep(after)
	worker := r.cmd.Process.Pid
	if s.behind {
		worker = 0
		if rec, err := os.ReadFile(r.path("state/x/record.json")); err == nil {
			worker = pidOf(rec)
		}
	}
	pids := map[string][]int{"worker": {worker}, "guard": {guardOf(worker)}}
	pids["both"] = []int{guardOf(worker), worker}
	pids["all"] = []int{r.cmd.Process.Pid, worker, guardOf(worker)}
	hit := false
	for _, pid := range pids[victim] {
		if pid > 0 && unix.Kill(pid, unix.SIGKILL) == nil {
			hit = hit || pid == worker
		}
	}
	if !hit {
		l.endAlive(r, ready)
	}
	r.waitExit()
	if !r.in.ended(runFor) {
		r.wrong("a process is left")
		r.in.killAll()
	}
	if victim == "worker" { // the guard has cut the files, before anybody looks at the session
		r.checkReadable(true)
	}
	session := r.session()
	if hit {
		r.checkKilled(session)
	} else {
		r.checkAlive(session)
	}
	if session != nil {
		if _, err := r.registry().Delete(l.t.Context(), "x", false); err != nil {
			r.wrong("delete: %v", err)
		}
	}
	if err := r.registry().Check("x"); err != nil {
		r.wrong("the name: %v", err)
	}
	return r, after
}

// pidOf is the process in a record, 0 for none.
func pidOf(record []byte) int {
	var rec struct{ PID int }
	_ = json.Unmarshal(record, &rec)
	return rec.PID
}

// guardOf is the guard of a process, 0 for none.
func guardOf(parent int) int {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		if text, _ := os.ReadFile(path); !bytes.HasPrefix(text, []byte("pcap-guard\x00")) {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		stat, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "stat"))
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])) // proc_pid_stat(5)
		if len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			return pid
		}
	}
	return 0
}

// endAlive ends a capture that has lost its guard only, or nothing: it was not that far.
func (l *lane) endAlive(r *faultRun, ready <-chan string) {
	select {
	case text := <-ready:
		r.begun = text != ""
	case <-time.After(runFor):
		r.hangs = "the start"
	}
	if r.shape.behind {
		r.waitExit()
		if !r.begun && !r.holds() {
			return
		}
		if _, _, err := r.registry().Stop(l.t.Context(), "x"); err != nil {
			r.wrong("stop: %v", err)
		}
		return
	}
	_ = r.cmd.Process.Signal(unix.SIGTERM)
}

// checkKilled looks at what a kill has left.
func (r *faultRun) checkKilled(s *registry.Session) {
	if s == nil {
		if files := r.files(); files != nil {
			r.wrong("the session is in no list, and there are %v", files)
		}
		return
	}
	p := &s.Resource().Properties
	if s.State != registry.Lost || s.Alive || p.PacketCaptureStatus != capture.StatusError || !slices.Equal(p.PacketCaptureError, []string{registry.CodeAgentStopped}) {
		r.wrong("state %v, alive %v, status %s, error %v", s.State, s.Alive, p.PacketCaptureStatus, p.PacketCaptureError)
	}
	r.begun = !s.Start.IsZero()
	r.checkWhole(p.Statistics, true)
}

// checkAlive looks at what became of a capture that went on.
func (r *faultRun) checkAlive(s *registry.Session) {
	switch {
	case r.hangs != "":
		r.wrong("hangs: %s", r.hangs)
	case !r.begun:
		// The command was killed before there was anybody to capture, or the guard in
		// the moment that it was started.
	case s == nil || s.State != registry.Ended || s.Failure() != nil:
		r.wrong("the session is %+v", s)
	default:
		st := s.Record.Resource.Properties.Statistics
		if counted := st.PacketsCaptured + st.PacketsDroppedByKernel + st.PacketsNotWritten; counted != st.PacketsReceived || st.PacketsNotWritten > 0 {
			r.wrong("%d packets received, %d captured, %d dropped by the kernel, %d not written", st.PacketsReceived, st.PacketsCaptured, st.PacketsDroppedByKernel, st.PacketsNotWritten)
		}
		r.checkWhole(st, false)
	}
}

// checkReadable reads all files there are: they have whole packets, in their order. killed
// tells that a zstd file may lack its end.
func (r *faultRun) checkReadable(killed bool) map[string][]int {
	found := map[string][]int{}
	for _, file := range r.files() {
		list, err := r.numbers(file)
		if killed && strings.HasSuffix(file, ".zst") {
			list, err = numbersUpToCut(file)
		}
		if err != nil {
			r.wrong("%s: %v", file, err)
		}
		if !slices.IsSorted(list) {
			r.wrong("%s: the packets are not in their order", file)
		}
		found[file] = list
	}
	return found
}

// checkWhole reads all files there are. They have the packets that are told.
func (r *faultRun) checkWhole(st *capture.Statistics, killed bool) {
	told := map[string]int{} // packets
	for _, f := range st.Files {
		told[f.Path] = int(st.PacketsCaptured)
		if f.Packets != nil {
			told[f.Path] = int(*f.Packets)
		}
	}
	for file, list := range r.checkReadable(killed) {
		n, known := told[file]
		switch {
		case !known && !r.shape.ring: // of a ring, the next one may be there already
			r.wrong("%s is not told", file)
		case known && n != len(list):
			r.wrong("%s has %d packets, told are %d", file, len(list), n)
		}
	}
}

// numbersUpToCut are the numbers in a zstd file that lacks its end: it ends behind a
// piece, which has whole packets.
func numbersUpToCut(path string) ([]int, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	d, err := zstd.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	text, err := io.ReadAll(d)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return numbersOf(bytes.NewReader(text))
}

// TestStorageEndsAtRandom cuts the connections of an upload, in the middle of a block as
// well, and kills the storage service, at any moment. The blob is complete and the same as
// the file, or the exit code says that it is not, the file is kept, and upload completes it.
func TestStorageEndsAtRandom(t *testing.T) {
	canInject(t)
	n := times(t, "PCAPCTL_TEST_STORAGE_ENDS", 20)
	var ends, uploads, resumed atomic.Int64
	t.Run("lanes", func(t *testing.T) {
		for i := range 2 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				a := blobtest.Start(t)
				a.Container("captures")
				a.Restart() // so that it is on the disk
				l := newLane(t, a)
				for at := i; ends.Load() < int64(n); at += 2 {
					r := l.endStorage(at, &ends)
					uploads.Add(1)
					if r.code == 8 {
						resumed.Add(1)
					}
					if r.wrongs != nil {
						t.Errorf("upload %d: %s\n%s", at, strings.Join(r.wrongs, "; "), tail(r.err.String()))
						continue
					}
					must(t, os.RemoveAll(r.dir))
				}
			})
		}
	})
	t.Logf("%d ends in %d uploads, of which %d were resumed", ends.Load(), uploads.Load(), resumed.Load())
}

// endStorage captures into a blob, and has the storage end some times meanwhile. Every
// fourth time it stays away in the end.
func (l *lane) endStorage(at int, ends *atomic.Int64) *faultRun {
	t := l.t
	s := shape{name: "blob", blob: true, frames: 3300, size: 1400}
	r, ready := l.start(&s, &injection{site: site{target: socketName(unix.AF_INET)}}, "memfd")
	select {
	case text := <-ready:
		r.begun = text != ""
	case <-time.After(runFor):
	}
	if !r.begun {
		r.waitExit()
		r.wrong("did not begin")
		return r
	}
	stays := at%4 == 3
	l.sendFrames(&s)
	r.sent = s.frames
	if at%16 == 7 { // while blocks are staged; what is committed would be lost in part
		time.Sleep(rand.N(100 * time.Millisecond))
		l.a.Kill()
		ends.Add(1)
		l.a.Restart()
	}
	cut := func() {
		for range 1 + rand.N(5) {
			time.Sleep(rand.N(30 * time.Millisecond))
			if rand.N(4) == 0 {
				var once atomic.Bool
				l.p.Rule(func(q blobtest.Request) blobtest.Fault {
					if q.Method != http.MethodPut || once.Swap(true) {
						return blobtest.Pass
					}
					ends.Add(1)
					return []blobtest.Fault{blobtest.Reset, blobtest.LoseAnswer, blobtest.CutAfter}[rand.N(3)]
				})
			} else if l.p.Cut() > 0 {
				ends.Add(1)
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(cut)
	time.Sleep(rand.N(60 * time.Millisecond))
	if stays {
		wg.Wait()
		l.p.Rule(func(blobtest.Request) blobtest.Fault {
			ends.Add(1)
			return blobtest.Reset
		})
	}
	must(t, r.cmd.Process.Signal(unix.SIGTERM))
	r.waitExit()
	wg.Wait()
	l.p.Rule(nil)
	r.code = r.cmd.ProcessState.ExitCode()
	if !r.in.ended(runFor) {
		r.hangs = "a process in the background"
	}
	r.check(or(fine(unharmed), brokenWith(8)))
	if b, h := l.a.Get(r.blobName); fmt.Sprintf("%x", sha256.Sum256(b)) != h.Get("x-ms-meta-sha256") {
		r.wrong("the blob is not what its metadata say: %v", h)
	}
	return r
}
