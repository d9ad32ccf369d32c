package inspect_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pcapctl/capture/hostcontext"
	"pcapctl/capture/inspect"
)

// A context goes to the conversations and findings that it belongs to, and to no others;
// names in it are shown as what they are.
func TestContextIsAdded(t *testing.T) {
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	at := netip.MustParseAddrPort
	d := &hostcontext.Document{
		SchemaVersion: hostcontext.SchemaVersion, Complete: true, Host: "vm",
		Counters: []hostcontext.Moved{{Name: "Ip.InReceives", Delta: 9}, {Name: "Tcp.RetransSegs", Delta: 19}, {Name: "interface.eth0.rx_missed_errors", Delta: 3}, {Name: "TcpExt.ListenDrops", Delta: 2}},
		Sockets: []hostcontext.Socket{
			{Protocol: "TCP", Local: at("10.0.0.4:40000"), Remote: at("10.0.0.9:443"), Program: "<script>alert(1)</script>", First: noon, Last: noon.Add(time.Minute)},
			{Protocol: "TCP", Local: at("0.0.0.0:22"), State: "LISTEN", Program: "sshd", First: noon, Last: noon.Add(time.Minute)},
			{Protocol: "TCP", Local: at("10.0.0.4:40000"), Remote: at("10.0.0.9:443"), Program: "tomorrow", First: noon.Add(time.Hour), Last: noon.Add(time.Hour)},
		},
		Start:    &hostcontext.Machine{Interfaces: []hostcontext.Interface{{Addresses: []string{"10.0.0.4/24"}}}},
		Problems: []string{"\x1b[31mred"},
	}
	r := &inspect.Report{
		Verdict: "no failure found",
		Failures: []inspect.Finding{
			{ID: "tcp-retransmissions", Severity: inspect.Warning, Endpoints: []string{"10.0.0.9:443", "10.0.0.4"}, First: noon, Last: noon.Add(time.Second)},
			{ID: "dns-nxdomain", Severity: inspect.Warning, Endpoints: []string{"10.0.0.2:53"}, First: noon, Last: noon},
		},
	}
	r.Talkers.Protocols = []inspect.Count{{Name: "TCP", Packets: 1}}
	r.Talkers.Conversations = []inspect.Conversation{
		{Protocol: "TCP", A: "10.0.0.4:40000", B: "10.0.0.9:443", First: noon, Last: noon.Add(time.Second)},
		{Protocol: "TCP", A: "10.0.0.7:5000", B: "10.0.0.4:22", First: noon, Last: noon.Add(time.Second)},
		{Protocol: "TCP", A: "10.0.0.4:40000", B: "10.0.0.9:443", Through: "VXLAN 5", First: noon, Last: noon.Add(time.Second)},
		{Protocol: "ARP", A: "10.0.0.4", B: "10.0.0.9"},
	}
	r.AddContext("web.cap.context.json", d)

	if got := r.Failures[0]; strings.Join(got.Programs, "") != "<script>alert(1)</script>" || strings.Join(got.Counters, "") != "Tcp.RetransSegs +19" {
		t.Errorf("the finding has %q and %q", got.Programs, got.Counters)
	}
	if got := r.Failures[1]; got.Programs != nil || got.Counters != nil {
		t.Errorf("another finding has %q and %q", got.Programs, got.Counters)
	}
	v := r.Talkers.Conversations
	if strings.Join(v[0].ProgramsA, "") != "<script>alert(1)</script>" || v[0].ProgramsB != nil || strings.Join(v[1].ProgramsB, "") != "sshd (listens)" || v[1].ProgramsA != nil {
		t.Errorf("conversations are of %q %q, %q %q", v[0].ProgramsA, v[0].ProgramsB, v[1].ProgramsA, v[1].ProgramsB)
	}
	if v[2].ProgramsA != nil || v[3].ProgramsA != nil {
		t.Errorf("inside a tunnel, and without ports: %q, %q", v[2].ProgramsA, v[3].ProgramsA)
	}
	var names []string
	for _, c := range r.Context[0].Counters {
		names = append(names, c.Name)
		if c.Meaning == "" {
			t.Errorf("%s has no meaning", c.Name)
		}
	}
	if got, want := strings.Join(names, " "), "interface.eth0.rx_missed_errors Tcp.RetransSegs TcpExt.ListenDrops"; got != want {
		t.Errorf("counters %s, want %s", got, want)
	}

	var page strings.Builder
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	text := strings.Join(r.Text(inspect.Style{Width: 100}), "\n")
	for form, shown := range map[string]string{"page": page.String(), "text": text} {
		if strings.Contains(shown, "\x1b") || !strings.Contains(shown, "Tcp.RetransSegs") || !strings.Contains(shown, "sshd") {
			t.Errorf("the %s:\n%s", form, shown)
		}
	}
	if strings.Contains(page.String(), "<script>") {
		t.Error("a name is markup on the page")
	}
}

// Every finding that a counter goes with is one that there is.
func TestCountersGoWithFindings(t *testing.T) {
	known := map[string]bool{"capture-gaps": true, "capture-drops": true, "checksum-wrong": true, "one-direction": true} // of quality
	for _, id := range inspect.FindingIDs() {
		known[id] = true
	}
	for _, id := range inspect.CounterFindings() {
		if !known[id] {
			t.Errorf("there is no finding %s", id)
		}
	}
}
