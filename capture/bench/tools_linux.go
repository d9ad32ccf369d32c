package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/gopacket/pcapgo"
	"golang.org/x/sys/unix"
)

// tool is a program that captures on v1 into a file until it gets SIGINT.
type tool struct {
	name  string
	args  func(s scenario, file string) []string
	ready string         // what it says on stderr when it captures
	drops *regexp.Regexp // what it says of packets that it lost
}

func (t tool) program(o *options) string {
	if t.name == "pcapctl" {
		return o.pcapctl
	}
	return t.name
}

// wantedPort is the destination of the packets that a filter passes.
const wantedPort = 9

var tools = []tool{
	{
		name: "pcapctl", ready: "capturing on", drops: regexp.MustCompile(`"packetsDroppedByKernel": (\d+)`),
		args: func(s scenario, file string) []string {
			args := []string{"create", "-i", "v1", "--captures-dir", filepath.Dir(file), "--file-path", file, "--capture-limit", "0"}
			if s.snap != 0 {
				args = append(args, "--capture-size", strconv.Itoa(s.snap))
			}
			if s.every != 0 {
				args = append(args, "--filter", "protocol=UDP,localPort="+strconv.Itoa(wantedPort))
			}
			return args
		},
	},
	{
		name: "tcpdump", ready: "listening on", drops: regexp.MustCompile(`(\d+) packets? dropped by kernel`),
		args: func(s scenario, file string) []string {
			args := []string{"-i", "v1", "-n", "-w", file, "-Z", "root"}
			if s.snap != 0 {
				args = append(args, "-s", strconv.Itoa(s.snap))
			}
			if s.every != 0 {
				args = append(args, "udp dst port "+strconv.Itoa(wantedPort))
			}
			return args
		},
	},
	{
		name: "dumpcap", ready: "File: ", drops: regexp.MustCompile(`Packets received/dropped on interface 'v1': \d+/(\d+)`),
		args: func(s scenario, file string) []string {
			args := []string{"-i", "v1", "-q", "-P", "-w", file}
			if s.snap != 0 {
				args = append(args, "-s", strconv.Itoa(s.snap))
			}
			if s.every != 0 {
				args = append(args, "-f", "udp dst port "+strconv.Itoa(wantedPort))
			}
			return args
		},
	},
}

// network is a namespace with v0 and v1 connected.
type network struct {
	name, disk, memory string
}

func newNetwork(work string) (*network, error) {
	n := &network{name: fmt.Sprintf("pcapctl-bench-%d", os.Getpid()), disk: work, memory: filepath.Join(work, "memory")}
	script := `
		ip netns add $NS
		ip netns exec $NS sh -c 'for c in all default; do echo 1 >/proc/sys/net/ipv6/conf/$c/disable_ipv6; done'
		ip -n $NS link add v0 type veth peer name v1
		ip -n $NS link set v0 arp off multicast off up
		ip -n $NS link set v1 arp off multicast off up
		mkdir $MEMORY && mount -t tmpfs none $MEMORY`
	if err := n.sh(script); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (n *network) close() {
	_ = n.sh("umount $MEMORY; ip netns del $NS")
}

func (n *network) sh(script string) error {
	cmd := exec.Command("sh", "-ec", script)
	cmd.Env = append(os.Environ(), "NS="+n.name, "MEMORY="+n.memory)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the network: %w: %s", err, out)
	}
	return nil
}

// command runs in the namespace, on one processor.
func (n *network) command(o *options, cpu int, program string, args ...string) *exec.Cmd {
	words := []string{"netns", "exec", n.name}
	if o.cpus {
		words = append(words, "taskset", "-c", strconv.Itoa(cpu))
	}
	cmd := exec.Command("ip", append(append(words, program), args...)...)
	cmd.Env = append(os.Environ(), "PCAPCTL_STATE_DIR="+n.disk+"/state") // its sessions end with the bench
	return cmd
}

// measure runs a tool once while packets are sent.
func (n *network) measure(o *options, t tool, s scenario) (m measure, err error) {
	dir := n.memory
	if s.disk {
		dir = n.disk
	}
	file, held := filepath.Join(dir, "bench.cap"), filepath.Join(dir, "held")
	defer func() {
		_, _ = os.Remove(file), os.Remove(held)
		if s.disk { // so that the next run does not pay for it
			unix.Sync()
			time.Sleep(time.Second)
		}
	}()
	if err := warm(held, s.volume(o.seconds)); err != nil {
		return m, err
	}
	r, err := n.start(o, t, s, file)
	if err != nil {
		return m, err
	}
	m.start = r.took
	time.Sleep(200 * time.Millisecond) // dumpcap says it a little early
	if err := os.Remove(held); err != nil {
		r.kill()
		return m, err
	}
	pid := r.cmd.Process.Pid
	before, from := cpuTime(pid), time.Now()
	if err := n.send(o, s, r.said, &m); err != nil {
		r.kill()
		return m, fmt.Errorf("send: %w: %s", err, r.said)
	}
	time.Sleep(500 * time.Millisecond)
	m.steady, m.window = cpuTime(pid)-before, time.Since(from)
	m.rss = peakMemory(pid)
	if err := r.stop(&m); err != nil {
		return m, err
	}
	if found := t.drops.FindSubmatch(r.said.bytes()); found != nil {
		m.counted, _ = strconv.Atoi(string(found[1]))
	}
	m.got, err = countPackets(file)
	return m, err
}

// running is a tool that captures.
type running struct {
	cmd  *exec.Cmd
	said *log
	took time.Duration // from its start until it was ready
}

// start starts a tool and waits until it captures.
func (n *network) start(o *options, t tool, s scenario, file string) (*running, error) {
	r := &running{
		cmd:  n.command(o, 1, t.program(o), t.args(s, file)...),
		said: &log{wait: t.ready, ready: make(chan struct{})},
	}
	r.cmd.Stdout, r.cmd.Stderr = r.said, r.said
	began := time.Now()
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	select {
	case <-r.said.ready:
	case <-time.After(10 * time.Second):
		r.kill()
		return nil, fmt.Errorf("not ready after ten seconds: %s", r.said)
	}
	r.took = time.Since(began)
	return r, nil
}

// kill ends a tool whose measurement failed.
func (r *running) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// stop ends the tool as a user does, and notes its times.
func (r *running) stop(m *measure) error {
	stopped := time.Now()
	_ = r.cmd.Process.Signal(syscall.SIGINT)
	err := r.cmd.Wait()
	m.stop = time.Since(stopped)
	if err != nil {
		return fmt.Errorf("%w: %s", err, r.said)
	}
	m.cpu = r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime()
	return nil
}

// send sends the packets of a scenario, or waits as long where it has none.
func (n *network) send(o *options, s scenario, said *log, m *measure) error {
	if s.rate < 0 {
		m.sending = time.Duration(o.seconds * float64(time.Second))
		time.Sleep(m.sending)
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	sender := n.command(o, 0, self, senderArgs(s, o.seconds)...)
	sender.Stderr = said
	out, err := sender.Output()
	if err != nil {
		return err
	}
	var nanos int64
	_, err = fmt.Sscan(string(out), &m.sent, &m.wanted, &nanos)
	m.sending = time.Duration(nanos)
	return err
}

// cpuTime is what the threads of a process have run so far. Those that have
// ended are left out; none of the tools ends threads while it captures. The
// first number of schedstat is in nanoseconds, where /proc/PID/stat counts
// hundredths of a second.
func cpuTime(pid int) (sum time.Duration) {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, path := range threads {
		text, err := os.ReadFile(path)
		var ns int64
		if _, serr := fmt.Sscan(string(text), &ns); err == nil && serr == nil {
			sum += time.Duration(ns)
		}
	}
	return sum
}

// peakMemory is what a process has had resident at most, in bytes, since it
// became the program that it is. (Maxrss of wait4(2) begins with the process
// that it was forked from.)
func peakMemory(pid int) int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 0
}

// warm writes as much as the tool is going to, and takes it away again, so that
// the memory below the file is there for each of them: on a virtual machine the
// first touch of a page may cost more than everything that is measured.
func warm(file string, size int64) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	chunk := make([]byte, 1<<20)
	for at := int64(0); at < size && err == nil; at += int64(len(chunk)) {
		_, err = f.Write(chunk)
	}
	return errors.Join(err, f.Close())
}

// countPackets reads a file with a reader that is not pcapctl's, and sees that
// the numbers in its packets only grow.
func countPackets(file string) (int, error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		return 0, err
	}
	count, last := 0, int64(-1)
	for {
		data, _, err := r.ZeroCopyReadPacketData()
		if errors.Is(err, io.EOF) {
			return count, nil
		}
		if err != nil {
			return count, fmt.Errorf("packet %d: %w", count+1, err)
		}
		count++
		if len(data) < numberAt+4 {
			continue // a short snap length
		}
		number := int64(binary.BigEndian.Uint32(data[numberAt:]))
		if number <= last {
			return count, fmt.Errorf("packet %d is number %d, after %d", count, number, last)
		}
		last = number
	}
}

// log keeps what a tool writes, and closes ready when it writes that it is ready.
type log struct {
	text  strings.Builder
	wait  string
	ready chan struct{}
	done  bool
}

func (l *log) Write(p []byte) (int, error) {
	l.text.Write(p)
	if !l.done && strings.Contains(l.text.String(), l.wait) {
		l.done = true
		close(l.ready)
	}
	return len(p), nil
}

func (l *log) String() string { return l.text.String() }
func (l *log) bytes() []byte  { return bytes.Clone([]byte(l.text.String())) }
