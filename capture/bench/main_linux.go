// Command bench runs pcapctl, tcpdump and dumpcap in turn on the same traffic,
// in a network namespace of its own, and on the same file, and prints what each of them cost and
// lost. docs/performance.md explains the columns.
//
//	go run ./capture/bench            every case, five rounds
//	go run ./capture/bench -rounds 1 -seconds 2 -case 64B
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"text/tabwriter"
	"time"
)

// scenario is one kind of traffic and what is kept of it.
type scenario struct {
	name  string
	sizes []int // of frames, in turn
	rate  int   // packets a second; 0 sends as fast as it can, a negative one sends none
	snap  int   // bytes kept of each; 0 is all
	every int   // one of so many packets passes the filter; 0 is no filter
	disk  bool  // to the disk instead of memory
}

// imix is the usual mix of sizes, 7:4:1.
var imix = []int{64, 594, 64, 594, 64, 64, 1514, 64, 594, 64, 594, 64}

// volume is about how many bytes a tool writes in a run.
func (s scenario) volume(seconds float64) int64 {
	rate := s.rate
	switch {
	case rate < 0:
		return 0
	case rate == 0:
		rate = 1_000_000
	}
	var size int
	for _, n := range s.sizes {
		if s.snap != 0 {
			n = min(n, s.snap)
		}
		size += n + 16
	}
	return int64(float64(rate) * seconds * float64(size) / float64(len(s.sizes)*max(s.every, 1)))
}

var scenarios = []scenario{
	{name: "64B", sizes: []int{64}, rate: 200_000},
	{name: "IMIX", sizes: imix, rate: 200_000},
	{name: "1514B", sizes: []int{1514}, rate: 200_000},
	{name: "1514B-snap40", sizes: []int{1514}, rate: 200_000, snap: 40},
	{name: "64B-filter1%", sizes: []int{64}, rate: 200_000, every: 100},
	{name: "1514B-disk", sizes: []int{1514}, rate: 200_000, disk: true},
	{name: "64B-flood", sizes: []int{64}},
	{name: "1514B-flood", sizes: []int{1514}},
	{name: "1514B-flood-disk", sizes: []int{1514}, disk: true},
	{name: "idle", sizes: []int{64}, rate: -1},
}

type options struct {
	rounds  int
	seconds float64
	only    *regexp.Regexp
	tools   *regexp.Regexp
	pcapctl string
	disk    string
	cpus    bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == senderWord {
		exitOn(runSender(os.Args[2:]))
		return
	}
	var o options
	only := flag.String("case", ".", "`regexp` of the cases to run")
	names := flag.String("tools", ".", "`regexp` of the tools to run; tcpdump is what the others are compared with")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each tool runs in each case")
	flag.Float64Var(&o.seconds, "seconds", 2, "how long packets are sent in a run")
	flag.StringVar(&o.pcapctl, "pcapctl", "", "program to measure (default: built from this tree)")
	flag.StringVar(&o.disk, "disk", os.TempDir(), "folder on a real disk")
	flag.BoolVar(&o.cpus, "pin", true, "sender on the first processor, tools on the second")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err == nil {
		o.tools, err = regexp.Compile(*names)
	}
	if err == nil {
		err = o.run()
	}
	exitOn(err)
}

func exitOn(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err) //nolint:forbidigo // a command of its own
		os.Exit(1)
	}
}

func (o *options) run() error {
	if os.Getuid() != 0 {
		return fmt.Errorf("needs root, for a network namespace and to capture")
	}
	work, err := os.MkdirTemp(o.disk, "pcapctl-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(work) }()
	if o.pcapctl == "" {
		o.pcapctl = filepath.Join(work, "pcapctl")
		build := exec.Command("go", "build", "-trimpath", "-o", o.pcapctl, "./cmd/pcapctl")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		build.Stderr = os.Stderr //nolint:forbidigo // a command of its own
		if err := build.Run(); err != nil {
			return fmt.Errorf("build pcapctl: %w", err)
		}
	}
	net, err := newNetwork(work)
	if err != nil {
		return err
	}
	defer net.close()
	for _, s := range scenarios {
		if o.only.MatchString(s.name) {
			if err := o.compare(net, s); err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
		}
	}
	for _, c := range offlineCases {
		if o.only.MatchString(c.name) {
			if err := o.compareOffline(net, c); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	return nil
}

// compare runs every tool in turn, round after round, so that a noisy machine
// is noisy for all of them. Each round begins with another one: memory and disk
// remember what the one before has done with them.
func (o *options) compare(net *network, s scenario) error {
	runs := map[string][]measure{}
	var present []tool
	for _, t := range tools {
		if _, err := exec.LookPath(t.program(o)); err == nil && o.tools.MatchString(t.name) {
			present = append(present, t)
		}
	}
	for round := range o.rounds {
		for i := range present {
			t := present[(round+i)%len(present)]
			m, err := net.measure(o, t, s)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			runs[t.name] = append(runs[t.name], m)
		}
	}
	return table(s, present, runs)
}

// table prints the medians of a scenario, a tool a line.
func table(s scenario, present []tool, runs map[string][]measure) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight) //nolint:forbidigo // a command of its own
	_, _ = fmt.Fprintf(w, "%s\tsent/s\tCPU µs/packet\tto tcpdump\tCPU %%\tCPU ms in all\tto tcpdump\tlost %%\tuncounted\tRSS MiB\tstart ms\tstop ms\t\n", s.name)
	base, baseAll := median(runs["tcpdump"], measure.perPacket), median(runs["tcpdump"], measure.inAll)
	for _, t := range present {
		rs := runs[t.name]
		cpu, all := median(rs, measure.perPacket), median(rs, measure.inAll)
		_, _ = fmt.Fprintf(w, "%s\t%.0f\t%.3f\t%.2f\t%.2f\t%.0f\t%.2f\t%.2f\t%.0f\t%.1f\t%.0f\t%.0f\t\n", t.name,
			median(rs, func(m measure) float64 { return float64(m.sent) / m.sending.Seconds() }),
			cpu*1e6, cpu/base,
			median(rs, func(m measure) float64 { return 100 * m.steady.Seconds() / m.window.Seconds() }),
			all*1e3, all/baseAll,
			median(rs, func(m measure) float64 { return 100 * float64(m.lost()) / float64(max(m.wanted, 1)) }),
			median(rs, func(m measure) float64 { return float64(m.lost() - m.counted) }),
			median(rs, func(m measure) float64 { return float64(m.rss) / (1 << 20) }),
			median(rs, func(m measure) float64 { return m.start.Seconds() * 1e3 }),
			median(rs, func(m measure) float64 { return m.stop.Seconds() * 1e3 }))
	}
	return w.Flush()
}

// measure is one run of one tool.
type measure struct {
	sent, wanted, got int           // packets sent, of those the filter passes, in the file
	counted           int           // what the tool says it lost
	cpu               time.Duration // from the tool's start to its end
	steady, window    time.Duration // CPU time, and time, from before the first packet to after the last
	sending           time.Duration
	start, stop       time.Duration
	rss               int64
}

func (m measure) lost() int { return m.wanted - m.got }

func (m measure) perPacket() float64 { return m.steady.Seconds() / float64(max(m.sent, 1)) }
func (m measure) inAll() float64     { return m.cpu.Seconds() }

func median(runs []measure, of func(measure) float64) float64 {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = of(r)
	}
	slices.Sort(values)
	if len(values) == 0 {
		return 0
	}
	return values[len(values)/2]
}
