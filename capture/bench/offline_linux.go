package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"
)

// offlineCase is a file that is read, by pcapctl and by tcpdump. Each may use all processors.
type offlineCase struct {
	name  string
	tools []offlineTool
}

type offlineTool struct {
	name string
	args func(in, out string) []string
}

const offlineFilter = "protocol=TCP,remotePort="

var offlineCases = []offlineCase{
	{"inspect", []offlineTool{
		{"pcapctl", func(in, _ string) []string { return []string{"inspect", in, "-o", "json"} }},
		{"tcpdump", func(in, _ string) []string { return []string{"-nr", in, "-w", "/dev/null"} }},
	}},
	{"inspect-filter", []offlineTool{
		{"pcapctl", func(in, _ string) []string {
			return []string{"inspect", in, "-o", "json", "--filter", offlineFilter + strconv.Itoa(offlinePort)}
		}},
		{"tcpdump", func(in, _ string) []string {
			return []string{"-nr", in, "-w", "/dev/null", "tcp port " + strconv.Itoa(offlinePort)}
		}},
	}},
	{"read-file-filter", []offlineTool{
		{"pcapctl", func(in, out string) []string {
			return append(readFile(in, out), "--filter", offlineFilter+strconv.Itoa(offlinePort))
		}},
		{"tcpdump", func(in, out string) []string {
			return []string{"-nr", in, "-w", out, "-Z", "root", "tcp port " + strconv.Itoa(offlinePort)}
		}},
	}},
	{"read-file", []offlineTool{
		{"pcapctl", readFile},
		{"tcpdump", func(in, out string) []string { return []string{"-nr", in, "-w", out, "-Z", "root"} }},
	}},
}

func readFile(in, out string) []string {
	return []string{"create", "--read-file", in, "--captures-dir", filepath.Dir(out), "--file-path", out, "--capture-limit", "0"}
}

// offlineRun is one run of one tool.
type offlineRun struct{ cpu, wall time.Duration }

// compareOffline runs the tools of a case in turn on one file, and prints the medians with the least and the most.
func (o *options) compareOffline(net *network, c offlineCase) error {
	in, out := filepath.Join(net.memory, "offline.pcap"), filepath.Join(net.memory, "offline-out.pcap")
	if _, err := os.Stat(in); err != nil {
		if err := writeTraffic(in, offlinePackets, offlineFlows); err != nil {
			return err
		}
	}
	runs := map[string][]offlineRun{}
	for round := range o.rounds {
		for i := range c.tools {
			t := c.tools[(round+i)%len(c.tools)]
			program := t.name
			if program == "pcapctl" {
				program = o.pcapctl
			}
			cmd := exec.Command(program, t.args(in, out)...)
			cmd.Env = append(os.Environ(), "PCAPCTL_STATE_DIR="+net.disk+"/state")
			begun := time.Now()
			if err := cmd.Run(); err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			wall := time.Since(begun)
			runs[t.name] = append(runs[t.name], offlineRun{cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall})
			_ = os.Remove(out) // not every tool makes one
		}
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight) //nolint:forbidigo // a command of its own
	_, _ = fmt.Fprintf(w, "%s\tCPU µs/packet\tleast–most\tto tcpdump\twall ms\tleast–most\tto tcpdump\tcores used\t\n", c.name)
	perPacket := func(r offlineRun) float64 { return r.cpu.Seconds() * 1e6 / offlinePackets }
	wall := func(r offlineRun) float64 { return r.wall.Seconds() * 1e3 }
	baseCPU, _, _ := spread(runs["tcpdump"], perPacket)
	baseWall, _, _ := spread(runs["tcpdump"], wall)
	for _, t := range c.tools {
		cpu, cpuLeast, cpuMost := spread(runs[t.name], perPacket)
		took, wallLeast, wallMost := spread(runs[t.name], wall)
		cores, _, _ := spread(runs[t.name], func(r offlineRun) float64 { return r.cpu.Seconds() / r.wall.Seconds() })
		_, _ = fmt.Fprintf(w, "%s\t%.3f\t%.3f–%.3f\t%.2f\t%.0f\t%.0f–%.0f\t%.2f\t%.2f\t\n", t.name, cpu, cpuLeast, cpuMost, cpu/baseCPU,
			took, wallLeast, wallMost, took/baseWall, cores)
	}
	return w.Flush()
}

// spread is the median, the least and the most of a measurement.
func spread(runs []offlineRun, of func(offlineRun) float64) (median, least, most float64) {
	values := make([]float64, len(runs))
	for i, r := range runs {
		values[i] = of(r)
	}
	if len(values) == 0 {
		return 0, 0, 0
	}
	slices.Sort(values)
	return values[len(values)/2], values[0], values[len(values)-1]
}
