package npcap

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"pcapctl/capture/netif"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/capture/source/sourcetest"
	"pcapctl/filter"
)

// needNpcap skips the test where there is no wpcap.dll that can be used.
func needNpcap(t testing.TB) {
	t.Helper()
	if _, err := load(); err != nil {
		t.Skip(loadError(err))
	}
}

// loopback is the interface that a machine reaches itself by.
func loopback(t testing.TB) netif.Interface {
	t.Helper()
	all, err := netif.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Loopback {
			return i
		}
	}
	t.Fatalf("no loopback in %+v", all)
	return netif.Interface{}
}

// overLoopback is a source of what is sent to a port of this machine, and what sends
// numbered packets there.
func overLoopback(t testing.TB, output request.Output) (*npcapSource, func(n int)) {
	t.Helper()
	// Not by package net, whose UDP asks for what Wine does not have (SIO_UDP_CONNRESET).
	listener, to := socketAt(t, 0), windows.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}} // with nobody there would be ICMP errors
	sa, err := windows.Getsockname(listener)
	if err != nil {
		t.Fatal(err)
	}
	to.Port = sa.(*windows.SockaddrInet4).Port
	sender, port := socketAt(t, 0), strconv.Itoa(to.Port)
	c := testConfig(t, output, filter.Spec{Protocol: new("UDP"), RemotePort: &port})
	spec, err := NewSpec(c, live.Options{Interfaces: []string{loopback(t).Name}})
	if err != nil {
		t.Fatal(err)
	}
	src, err := spec.Prepare(func() error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = src.Close() })
	number := uint32(0)
	return src.(*npcapSource), func(n int) {
		for range n {
			if err := windows.Sendto(sender, binary.BigEndian.AppendUint32(nil, number), 0, &to); err != nil {
				t.Error(err)
			}
			number++
		}
	}
}

// socketAt is a UDP socket at a port of loopback.
func socketAt(t testing.TB, port int) windows.Handle {
	t.Helper()
	s, err := windows.Socket(windows.AF_INET, windows.SOCK_DGRAM, windows.IPPROTO_UDP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = windows.Closesocket(s) })
	if err := windows.Bind(s, &windows.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// headerOf is what packets of loopback have before the IP header, in bytes.
func headerOf(t testing.TB) int {
	t.Helper()
	src, _ := overLoopback(t, request.Output{})
	defer func() { _ = src.Close() }()
	if src.adapters[0].mac {
		return macLen // Linux's, under Wine
	}
	return 4
}

// The contract, with the driver that there is.
func TestConformanceOfDriver(t *testing.T) {
	needNpcap(t)
	length := headerOf(t) + 20 + 8 + 4
	for _, format := range []string{"", request.FormatPcapng} {
		t.Run("format "+format, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Fixture{Length: length, Prepare: func(t *testing.T) (source.Source, func(int)) {
				return overLoopback(t, request.Output{Format: format})
			}})
		})
	}
}

// adaptersVariable names two adapters that a test may send on, "v0,w0", both with the
// MAC address of ownMAC: see docs/contributing.md.
const adaptersVariable = "PCAPCTL_TEST_ADAPTERS"

// The contract on Ethernet, and on several adapters.
func TestConformanceOnAdapters(t *testing.T) {
	needNpcap(t)
	names := strings.Split(os.Getenv(adaptersVariable), ",")
	if len(names) != 2 {
		t.Skip("needs two adapters of its own: ", adaptersVariable)
	}
	for _, test := range []struct {
		name   string
		on     []string
		output request.Output
		length int
	}{
		{"one", names[:1], request.Output{}, 60},
		{"one, pcapng", names[:1], request.Output{Format: request.FormatPcapng}, 60},
		{"two", names, request.Output{}, 60 - 14 + 20},
		{"two, pcapng", names, request.Output{Format: request.FormatPcapng}, 60},
	} {
		t.Run(test.name, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Fixture{Length: test.length, Prepare: func(t *testing.T) (source.Source, func(int)) {
				senders := make([]func([]byte), len(test.on))
				for i, name := range test.on {
					senders[i] = senderOn(t, name)
				}
				senders[0](datagram(1, 7)) // before it is open
				spec, err := NewSpec(testConfig(t, test.output, toPort7), live.Options{Interfaces: test.on})
				if err != nil {
					t.Fatal(err)
				}
				src, err := spec.Prepare(func() error { return nil })
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = src.Close() })
				number := 0
				return src, func(n int) {
					for range n {
						send := senders[number%len(senders)]
						send(numbered(number))
						send(datagram(1, 8))
						number++
					}
				}
			}})
		})
	}
}

// senderOn sends frames on an adapter.
func senderOn(t testing.TB, name string) func(frame []byte) {
	t.Helper()
	d, err := load()
	if err != nil {
		t.Fatal(err)
	}
	l := d.(*library)
	all, err := netif.List()
	if err != nil {
		t.Fatal(err)
	}
	i, found := netif.Find(all, name)
	devices, err := l.devices()
	if err != nil || !found {
		t.Fatal(name, err)
	}
	device, _ := deviceOf(i, devices)
	h, err := l.open(device, openOptions{snapLen: 64, buffer: 1 << 20, wait: driverWait})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.close)
	send := windows.NewLazyDLL(l.path).NewProc("pcap_sendpacket") // for tests only: see functionNames
	return func(frame []byte) {
		if r, _, _ := send.Call(h.(*openAdapter).pcap, uintptr(unsafe.Pointer(&frame[0])), uintptr(len(frame))); int32(r) != 0 {
			t.Fatal(h.(*openAdapter).problem())
		}
	}
}

// Times are of now, and not all of them are whole microseconds where there are
// nanoseconds.
func TestTimesOfDriver(t *testing.T) {
	needNpcap(t)
	src, send := overLoopback(t, request.Output{})
	if err := errors.Join(src.Open(), src.Start()); err != nil {
		t.Fatal(err)
	}
	from := time.Now()
	send(50)
	list := all(t, src, 50)
	fine := 0
	for _, p := range list {
		if p.Nsec%1000 != 0 {
			fine++
		}
		if at := time.Unix(p.Sec, int64(p.Nsec)); at.Before(from.Add(-50*time.Millisecond)) || at.After(time.Now().Add(50*time.Millisecond)) {
			t.Errorf("%v, captured from %v to %v", at, from, time.Now())
		}
	}
	h := src.adapters[0].handle.(*openAdapter)
	if (fine > 0) != h.nano {
		t.Errorf("%d of %d times are finer than microseconds; nanoseconds: %v", fine, len(list), h.nano)
	}
	t.Logf("%s; link type %d, nanoseconds %v, system's clock %v", h.l.text, h.link, h.nano, h.synced)
}

// An adapter that the library does not have is told as such.
func TestDriverHasNoSuchAdapter(t *testing.T) {
	needNpcap(t)
	d, err := load()
	if err != nil {
		t.Fatal(err)
	}
	i := adapterNamed("missing", 0)
	spec, err := newSpec(testConfig(t, request.Output{}), live.Options{}, []netif.Interface{i}, []netif.Interface{i})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.prepare(d); err == nil {
		t.Error("it could be opened")
	} else {
		t.Log(err)
	}
	if _, err := d.open(devicePrefix+i.GUID, openOptions{snapLen: 100, buffer: 1 << 20, wait: driverWait}); err == nil {
		t.Error("it could be opened")
	} else {
		t.Log(openError("open missing", err))
	}
}

// A library that lacks a function is refused by the function's name, and one that is
// not there at all, without loading any other.
func TestLoadNames(t *testing.T) {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(system, "advapi32.dll")
	if _, err := loadFrom(path); !errors.Is(err, errOld) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "pcap_lib_version") {
		t.Errorf("%v", err)
	}
	if _, err := loadFrom(filepath.Join(system, "Npcap", "nothing.dll")); err == nil || errors.Is(err, errOld) {
		t.Errorf("%v", err)
	}
}

// The kind of time that is asked for is the one that the library calls so: of another that it does not have it takes
// none, and times drift from the system's clock.
func TestTimeIsOfTheSystem(t *testing.T) {
	needNpcap(t)
	d, err := load()
	if err != nil {
		t.Fatal(err)
	}
	handle, err := windows.LoadLibraryEx(d.(*library).path, 0, windows.LOAD_LIBRARY_SEARCH_SYSTEM32)
	if err != nil {
		t.Fatal(err)
	}
	toValue, err := windows.GetProcAddress(handle, "pcap_tstamp_type_name_to_val")
	if err != nil {
		t.Fatal(err)
	}
	name := append([]byte("host_hiprec"), 0)
	value, _, _ := syscall.SyscallN(toValue, uintptr(unsafe.Pointer(&name[0])))
	if int32(value) != tstampHostHiPrec {
		t.Errorf("host_hiprec is %d, and not %d", int32(value), tstampHostHiPrec)
	}
}

func TestDenied(t *testing.T) {
	for text, want := range map[string]bool{
		"PacketGetAdapterNames: Access is denied. (5)":      true,
		"PacketGetAdapterNames: Zugriff verweigert (5)\r\n": true,
		"PacketGetAdapterNames: Out of memory. (15)":        false,
		"": false,
	} {
		if got := errors.Is(denied(text, errors.New(text)), errDenied); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

// A reader allocates nothing for a packet.
func TestReaderAllocatesNothing(t *testing.T) {
	needNpcap(t)
	const packets = 1000
	mallocs := func(capture bool) uint64 {
		src, send := overLoopback(t, request.Output{})
		if capture {
			if err := errors.Join(src.Open(), src.Start()); err != nil {
				t.Fatal(err)
			}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		send(packets)
		if capture {
			waitFor(t, func() bool { return src.adapters[0].read.Load() >= packets })
		}
		runtime.ReadMemStats(&after)
		return after.Mallocs - before.Mallocs
	}
	sending, reading := mallocs(false), mallocs(true)
	if reading > sending+packets/10 {
		t.Errorf("%d packets: %d allocations, %d without a reader", packets, reading, sending)
	}
	t.Logf("%d packets: %d allocations, %d without a reader", packets, reading, sending)
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]struct {
		npcap bool
		old   bool
	}{
		"Npcap version 1.87, based on libpcap version 1.10.5":                         {true, false},
		"Npcap version 1.20, based on libpcap version 1.10.0":                         {true, false},
		"Npcap version 2.0, based on libpcap version 2.0":                             {true, false},
		"Npcap version 1.10, based on libpcap version 1.9.1":                          {true, true},
		"Npcap version 0.9997, based on libpcap version 1.9.1":                        {true, true},
		"WinPcap version 4.1.3 (packet.dll version 4.1.0.2980), based on libpcap 1.0": {false, true},
		"libpcap version 1.10.3 (with TPACKET_V3)":                                    {false, false},
		"Npcap version of a new kind":                                                 {false, false},
		"":                                                                            {false, false},
	} {
		npcap, err := checkVersion(text)
		if npcap != want.npcap || errors.Is(err, errOld) != want.old {
			t.Errorf("%q: %v, %v", text, npcap, err)
		}
	}
}
