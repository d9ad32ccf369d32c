package live_test

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/capture/source/sourcetest"
	"pcapctl/capture/testnet"
	"pcapctl/filter"
)

// config is that of a capture of UDP packets to port 7.
func config(t *testing.T, output request.Output) *request.Config {
	t.Helper()
	c, err := request.NewConfig(&request.Request{Properties: &request.Properties{
		Target:          new("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"),
		StorageLocation: &request.StorageLocation{FilePath: new("/var/captures/x.cap")},
		Filters:         []filter.Spec{{Protocol: new("UDP"), RemotePort: new("7")}},
	}}, request.Host{GOOS: "linux", Name: "h", Now: time.Now(), Output: output})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// datagram is a frame of a UDP packet between two ports.
func datagram(from, to uint16) []byte {
	f := make([]byte, 60)
	copy(f, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x2e\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	binary.BigEndian.PutUint16(f[34:], from)
	binary.BigEndian.PutUint16(f[36:], to)
	return f
}

func TestConformance(t *testing.T) {
	for _, test := range []struct {
		name   string
		on     []string
		output request.Output
		cooked pcapfile.LinkType
		length int // of a packet in the file
	}{
		{"one interface", []string{"v0"}, request.Output{}, 0, 60},
		{"one interface, pcapng", []string{"v0"}, request.Output{Format: request.FormatPcapng}, 0, 60},
		{"the default choice", nil, request.Output{}, 0, 60 - 14 + 20},
		{"several, with a cooked header", []string{"v0", "w0"}, request.Output{}, 0, 60 - 14 + 20},
		{"several, with a cooked header of the first version", []string{"v0", "w0"}, request.Output{}, pcapfile.SLL, 60 - 14 + 16},
	} {
		t.Run(test.name, func(t *testing.T) {
			testnet.Need(t)
			sourcetest.Run(t, sourcetest.Fixture{Length: test.length, Prepare: func(t *testing.T) (source.Source, func(int)) {
				ns := testnet.New(t)
				ns.Veth("v0", "v1")
				ns.Veth("w0", "w1")
				if test.on == nil { // which would take both ends
					far := testnet.New(t)
					ns.IP("link", "set", "v1", "netns", far.Name)
					far.IP("link", "set", "v1", "arp", "off", "multicast", "off", "up")
					far.WaitUntilUp("v1")
					ns.WaitUntilUp("v0")
				}
				sender := ns.Sender("v0") // going out, so that port 7 is the remote one
				frame, other := datagram(1, 7), datagram(1, 8)
				sender.Send(frame) // before anything is open
				var src source.Source
				var err error
				ns.Do(func() {
					var spec *live.Spec
					if spec, err = live.NewSpec(config(t, test.output), live.Options{Interfaces: test.on, Cooked: test.cooked}); err == nil {
						src, err = spec.Prepare(func() error { return nil })
					}
				})
				if err != nil {
					t.Fatal(err)
				}
				number := uint32(0)
				return inNamespace{src, ns}, func(n int) {
					for range n {
						binary.BigEndian.PutUint32(frame[len(frame)-4:], number)
						sender.Send(frame)
						sender.Send(other)
						number++
					}
				}
			}})
		})
	}
}

// inNamespace opens a source in a namespace.
type inNamespace struct {
	source.Source
	ns *testnet.NS
}

func (s inNamespace) Open() (err error) {
	s.ns.Do(func() { err = s.Source.Open() })
	return err
}

// A thousand addresses are left to the kernel wherever loopback is not captured: the part of the program for it is
// not needed there.
func TestThousandAddressesInTheKernel(t *testing.T) {
	testnet.Need(t)
	ns := testnet.New(t)
	ns.Veth("v0", "v1")
	var filters []filter.Filter
	for i := range 1000 {
		f, faults := filter.Parse(filter.Spec{RemoteIPAddress: new(fmt.Sprintf("10.%d.%d.7", i>>8, i&255))})
		if faults != nil {
			t.Fatal(faults)
		}
		filters = append(filters, f)
	}
	c := config(t, request.Output{})
	c.Filters = filter.NewSet(filters...)
	for _, tt := range []struct {
		on   []string
		want string
	}{
		{[]string{"v0"}, source.FilterKernel},
		{[]string{"v0", "v1"}, source.FilterKernel},
		{[]string{"lo"}, source.FilterCoarse},
		{[]string{"v0", "lo"}, source.FilterCoarse},
		{[]string{"any"}, source.FilterCoarse},
	} {
		ns.Do(func() {
			if spec, err := live.NewSpec(c, live.Options{Interfaces: tt.on}); err != nil || spec.FilterMode() != tt.want {
				t.Errorf("%v: %v, want %s", tt.on, err, tt.want)
			}
		})
	}
}
