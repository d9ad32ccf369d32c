package hostcontext_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pcapctl/capture/hostcontext"
	"pcapctl/capture/testnet"
)

// programVariable has this program be one that makes connections: how many, how long
// each, and where to.
const programVariable = "HOSTCONTEXT_TEST_PROGRAM"

// program is that program. It prints the local address of each connection, and when it was
// open: two times in nanoseconds.
func program() bool {
	text := os.Getenv(programVariable)
	if text == "" {
		return false
	}
	var count int
	var milliseconds int64
	var to string
	if _, err := fmt.Sscan(text, &count, &milliseconds, &to); err != nil {
		panic(err)
	}
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 37 * time.Millisecond) // not all at one moment of the second
			conn, err := net.Dial("tcp", to)
			for ; errors.Is(err, syscall.EADDRNOTAVAIL); conn, err = net.Dial("tcp", to) { // every port is in use
				time.Sleep(20 * time.Millisecond)
			}
			if err != nil {
				panic(err)
			}
			from := time.Now()
			_, _ = conn.Write([]byte("x"))
			time.Sleep(time.Duration(milliseconds) * time.Millisecond)
			// The port may be used again at once by the next program.
			_ = conn.(*net.TCPConn).SetLinger(0)
			until := time.Now()
			fmt.Printf("%s %d %d\n", conn.LocalAddr(), from.UnixNano(), until.UnixNano())
			_ = conn.Close()
		})
	}
	wg.Wait()
	return true
}

// sample runs something while sockets are sampled, and gives the document.
func sample(t *testing.T, o hostcontext.Options, do func(s *hostcontext.Sampler)) *hostcontext.Document {
	t.Helper()
	file, err := os.Create(filepath.Join(t.TempDir(), "x"+hostcontext.Extension))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	s, err := hostcontext.Start("/proc/self/exe", o, file)
	if err != nil {
		t.Fatal(err)
	}
	do(s)
	told := s.Wait()
	if told == nil || !told.Complete {
		t.Fatalf("the process has told %+v", told)
	}
	st, err := file.Stat()
	if err != nil || st.Size() != told.Size {
		t.Errorf("the file has %d bytes, and %d were told", st.Size(), told.Size)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	d, err := hostcontext.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// connection is one that a program has made.
type connection struct {
	program     string
	local       netip.AddrPort
	from, until time.Time
}

// Two hundred connections of twenty programs: those that live longer than a second, or than the longest pause between
// two looks on a machine that has no time, are named, and no name is wrong, though ports are used again and processes come and go.
func TestConnectionsAreNamed(t *testing.T) {
	ns := testnet.New(t)
	ns.Do(func() {
		// Few enough ports that they are used again.
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("40000 40150"), 0); err != nil {
			t.Fatal(err)
		}
	})
	var listener net.Listener
	var err error
	ns.Do(func() { listener, err = net.Listen("tcp", "127.0.0.1:8080") })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, conn); _ = conn.Close() }()
		}
	}()
	made := make(chan connection, 200)
	d := sample(t, hostcontext.Options{Netns: ns.Name, Session: "s", Host: "h"}, func(*hostcontext.Sampler) {
		var wg sync.WaitGroup
		for i := range 20 {
			name := fmt.Sprintf("program%02d", i)
			milliseconds := []int{30, 300, 1100, 1300, 2500}[i%5]
			wg.Go(func() {
				for _, c := range connect(t, ns, name, 10, milliseconds, "127.0.0.1:8080") {
					made <- c
				}
			})
		}
		wg.Wait()
	})
	close(made)
	pause := max(time.Second, time.Duration(d.Sampling.LongestPauseSeconds*float64(time.Second)))
	total, long, named, longNamed := 0, 0, 0, 0
	for c := range made {
		total++
		is := false
		for _, s := range d.Sockets {
			if s.Local != c.local || s.Remote.Port() != 8080 || s.Program == "" {
				continue
			}
			if s.First.After(c.until) || s.Last.Before(c.from) {
				continue // another connection of that port
			}
			if s.Program != c.program {
				t.Errorf("%s of %s, %s to %s, is said to be %s's (process %d, %s to %s)",
					c.local, c.program, c.from, c.until, s.Program, s.PID, s.First, s.Last)
			}
			is = true
		}
		if is {
			named++
		}
		if c.until.Sub(c.from) > pause {
			long++
			if is {
				longNamed++
			} else {
				t.Logf("not named: %s of %s, %s to %s", c.local, c.program, c.from, c.until)
			}
		}
	}
	t.Logf("%d connections, %d named; %d lived longer than %s, %d of them named; sampling %+v", total, named, long, pause, longNamed, d.Sampling)
	if total != 200 || long < 40 || longNamed*100 < long*95 {
		t.Errorf("%d connections, of %d that lived longer than %s %d are named", total, long, pause, longNamed)
	}
}

// connect runs a program of that name that makes connections.
func connect(t *testing.T, ns *testnet.NS, name string, count, milliseconds int, to string) (list []connection) {
	path := filepath.Join(t.TempDir(), name)
	self, err := os.Executable()
	if err == nil {
		err = os.Link(self, path)
	}
	if err != nil {
		var text []byte
		if text, err = os.ReadFile(self); err == nil {
			err = os.WriteFile(path, text, 0o700)
		}
	}
	if err != nil {
		t.Error(err)
		return nil
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), programVariable+"="+fmt.Sprintf("%d %d %s", count, milliseconds, to))
	cmd.Stderr = os.Stderr
	var out strings.Builder
	cmd.Stdout = &out
	ns.Do(func() { err = cmd.Start() })
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return nil
	}
	lines := bufio.NewScanner(strings.NewReader(out.String()))
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		local, _ := netip.ParseAddrPort(f[0])
		from, _ := strconv.ParseInt(f[1], 10, 64)
		until, _ := strconv.ParseInt(f[2], 10, 64)
		list = append(list, connection{name, local, time.Unix(0, from), time.Unix(0, until)})
	}
	return list
}

// A thousand sockets take less than a hundredth of a processor, but for the first look,
// which has to find all of their processes.
func TestThousandSockets(t *testing.T) {
	ns := testnet.New(t)
	var all []net.Conn
	defer func() {
		for _, c := range all {
			_ = c.Close()
		}
	}()
	ns.Do(func() {
		l, err := net.Listen("tcp", "127.0.0.1:8080")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		for range 500 {
			a, err := net.Dial("tcp", "127.0.0.1:8080")
			if err != nil {
				t.Fatal(err)
			}
			b, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, a, b)
		}
	})
	const looks = 5
	d := sample(t, hostcontext.Options{Netns: ns.Name}, func(*hostcontext.Sampler) { time.Sleep(looks * time.Second) })
	t.Logf("%+v", d.Sampling)
	const first = 0.1 // seconds
	if limit := first + 0.01*float64(d.Sampling.Samples); d.Sampling.SocketsSeen < len(all) || d.Sampling.SocketsNamed != d.Sampling.SocketsSeen || d.Sampling.CPUSeconds > limit {
		t.Errorf("%+v, want all named, and less than %.2f s", d.Sampling, limit)
	}
}
