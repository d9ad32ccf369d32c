package npcap

import (
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/bpf"

	"pcapctl/capture/netif"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/filter"
)

// fakeDriver stands for wpcap.dll and the driver below it.
type fakeDriver struct {
	names  []string
	opened map[string]*fakeHandle
	link   int
	err    error // of open
	modest bool  // in promiscuous mode only
	// endless is what Wine's next does: it waits without end.
	endless bool
	// unsynced times are not the system's.
	unsynced bool
	last     time.Time
	room     int // packets that the driver's buffer holds
}

// now is the time, and later than it was before: clocks are coarse on some systems.
func (d *fakeDriver) now() time.Time {
	at := time.Now()
	if !at.After(d.last) {
		at = d.last.Add(time.Nanosecond)
	}
	d.last = at
	return at
}

func (d *fakeDriver) version() string            { return "fake" }
func (d *fakeDriver) devices() ([]string, error) { return d.names, nil }

func (d *fakeDriver) open(device string, o openOptions) (handle, error) {
	if d.err != nil && (!d.modest || o.promiscuous) {
		return nil, d.err
	}
	h := &fakeHandle{driver: d, wakes: make(chan struct{}, 1), came: make(chan struct{}, 1)}
	d.opened[device] = h
	return h, nil
}

// fakeHandle is an adapter with a driver's buffer.
type fakeHandle struct {
	driver *fakeDriver
	wakes  chan struct{} // pcap_breakloop's flag
	came   chan struct{}

	mu                sync.Mutex
	vm                *bpf.VM
	buffer            []rawPacket
	drops             uint32
	broken            error
	blockless, closed bool
	stuck             chan struct{} // next does not come back before it is closed
	idling            func()        // called once, when next has found nothing and is about to say so
}

func (h *fakeHandle) linkType() int { return h.driver.link }
func (h *fakeHandle) clock() bool   { return !h.driver.unsynced }
func (h *fakeHandle) close()        { h.mu.Lock(); h.closed = true; h.mu.Unlock() }

func (h *fakeHandle) setFilter(program []bpf.RawInstruction) error {
	list := make([]bpf.Instruction, len(program))
	for n, i := range program {
		list[n] = i.Disassemble()
	}
	vm, err := bpf.NewVM(list)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.vm, h.buffer, h.drops = vm, nil, 0
	return err
}

// arrive is a packet that the adapter sees at a time.
func (h *fakeHandle) arrive(frame []byte, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(frame)
	if h.vm != nil {
		n, _ = h.vm.Run(frame)
	}
	if n == 0 {
		return
	}
	if len(h.buffer) >= h.driver.room {
		h.drops++
		return
	}
	h.buffer = append(h.buffer, rawPacket{
		sec: uint32(at.Unix()), nsec: uint32(at.Nanosecond()), length: len(frame), data: append([]byte(nil), frame[:min(n, len(frame))]...),
	})
	select {
	case h.came <- struct{}{}:
	default:
	}
}

// breaks has the adapter go away.
func (h *fakeHandle) breaks(err error) {
	h.mu.Lock()
	h.broken = err
	h.mu.Unlock()
	select {
	case h.came <- struct{}{}:
	default:
	}
}

func (h *fakeHandle) next(p *rawPacket) (outcome, error) {
	h.mu.Lock()
	stuck := h.stuck
	h.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	var timeout <-chan time.Time
	if !h.driver.endless {
		timer := time.NewTimer(driverWait / 20)
		defer timer.Stop()
		timeout = timer.C
	}
	for {
		select {
		case <-h.wakes:
			return woken, nil
		default:
		}
		h.mu.Lock()
		switch {
		case len(h.buffer) > 0:
			*p = h.buffer[0]
			h.buffer = h.buffer[1:]
			h.mu.Unlock()
			return taken, nil
		case h.broken != nil:
			err := h.broken
			h.mu.Unlock()
			return failed, err
		case h.blockless:
			h.mu.Unlock()
			return idle, nil
		}
		h.mu.Unlock()
		select {
		case <-h.came:
		case <-h.wakes:
			return woken, nil
		case <-timeout:
			h.mu.Lock()
			idling := h.idling
			h.idling = nil
			h.mu.Unlock()
			if idling != nil {
				idling()
			}
			return idle, nil
		}
	}
}

func (h *fakeHandle) wake() {
	select {
	case h.wakes <- struct{}{}:
	default:
	}
}

func (h *fakeHandle) nonblocking() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.blockless = true
	return nil
}

func (h *fakeHandle) dropped() (uint32, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.drops, h.broken
}

var ownMAC = []byte{2, 0, 0, 0, 0, 1}

// adapterNamed is an adapter of a machine that tests make up. Its index is that of no
// interface.
func adapterNamed(name string, index int) netif.Interface {
	return netif.Interface{Name: name, Index: 1<<20 + index, GUID: "{" + name + "}", HWType: netif.Ethernet, Up: true, Running: true, MTU: 1500, MAC: ownMAC}
}

func testConfig(t testing.TB, output request.Output, specs ...filter.Spec) *request.Config {
	t.Helper()
	c, err := request.NewConfig(&request.Request{Properties: &request.Properties{
		Target:          new("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"),
		StorageLocation: &request.StorageLocation{FilePath: new("/var/captures/x.cap")},
		Filters:         specs,
	}}, request.Host{GOOS: "linux", Name: "h", Now: time.Now(), Output: output})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// toPort7 matches UDP that is sent to port 7.
var toPort7 = filter.Spec{Protocol: new("UDP"), RemotePort: new("7")}

func newFake(names ...string) *fakeDriver {
	d := &fakeDriver{opened: map[string]*fakeHandle{}, link: dltEthernet, room: 1 << 20}
	for _, name := range names {
		d.names = append(d.names, devicePrefix+"{"+name+"}")
	}
	return d
}

func (d *fakeDriver) handle(name string) *fakeHandle { return d.opened[devicePrefix+"{"+name+"}"] }

// prepared is a source of the adapters, not opened.
func prepared(t testing.TB, d *fakeDriver, c *request.Config, interfaces ...netif.Interface) *npcapSource {
	t.Helper()
	spec, err := newSpec(c, live.Options{}, interfaces, interfaces)
	if err != nil {
		t.Fatal(err)
	}
	src, err := spec.prepare(d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	return src.(*npcapSource)
}

// started is one that captures.
func started(t testing.TB, d *fakeDriver, c *request.Config, interfaces ...netif.Interface) *npcapSource {
	t.Helper()
	src := prepared(t, d, c, interfaces...)
	if err := errors.Join(src.Open(), src.Start()); err != nil {
		t.Fatal(err)
	}
	return src
}

// datagram is a frame of a UDP packet that this machine sends.
func datagram(from, to uint16) []byte {
	f := make([]byte, 60)
	copy(f, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x2e\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	binary.BigEndian.PutUint16(f[34:], from)
	binary.BigEndian.PutUint16(f[36:], to)
	return f
}

// numbered is a datagram that ends in its number.
func numbered(n int) []byte {
	f := datagram(1, 7)
	binary.BigEndian.PutUint32(f[len(f)-4:], uint32(n))
	return f
}

// packet is a copy of one that was given.
type packet struct {
	source.Packet
	number int
}

// all takes packets until there are n, or for good when n is below zero.
func all(t testing.TB, src source.Source, n int) (list []packet) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); n < 0 || len(list) < n; {
		batch, err := src.Next()
		if err != nil {
			t.Fatal(err)
		}
		if batch == nil && n < 0 {
			return list
		}
		if batch == nil {
			if time.Now().After(end) {
				t.Fatalf("%d packets of %d", len(list), n)
			}
			if err := src.Wait(100 * time.Millisecond); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for p := batch.Next(); p != nil; p = batch.Next() {
			c := packet{*p, -1}
			c.Prefix, c.Data = append([]byte(nil), p.Prefix...), append([]byte(nil), p.Data...)
			if len(p.Data) >= 4 {
				c.number = int(binary.BigEndian.Uint32(p.Data[len(p.Data)-4:]))
			}
			list = append(list, c)
		}
	}
	return list
}

func numbers(list []packet) []int {
	out := make([]int, len(list))
	for i, p := range list {
		out[i] = p.number
	}
	return out
}
