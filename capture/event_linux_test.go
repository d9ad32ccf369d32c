package capture_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/filter"
)

// Ports of the frames of a numberedSender.
const (
	usualPort = 5000
	eventPort = 6000
)

// numbered is a frame of UDP with a number in it; those of the event have a port of their own.
func numbered(n uint32, event bool) []byte {
	port := uint16(usualPort)
	if event {
		port = eventPort
	}
	ip := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1000, port)
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[24:], uint16(len(ip)-20))
	frame := framed(pcapfile.Ethernet, false, binary.BigEndian, ip)
	binary.BigEndian.PutUint32(frame[42:], n)
	return frame
}

// numberOf is the number in a recorded frame, and whether it is an event.
func numberOf(p *pcapfile.Packet) (n uint32, event bool) {
	return binary.BigEndian.Uint32(p.Data[42:]), binary.BigEndian.Uint16(p.Data[36:]) == eventPort
}

// sentLog knows when a frame had been sent.
type sentLog struct {
	mu   sync.Mutex
	done []time.Time // by number
}

func (l *sentLog) add() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.done = append(l.done, time.Now())
}

// sent waits until a frame has been sent, and tells when.
func (l *sentLog) sent(n uint32) time.Time {
	for {
		l.mu.Lock()
		if int(n) < len(l.done) {
			defer l.mu.Unlock()
			return l.done[n]
		}
		l.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

// Run after run against a sender that never rests, and whose every hundredth packet or so is an event: the capture ends
// behind the first one, which is in its file, and so is every packet of the time after it, and none later.
func TestStopWhenEventIsSeen(t *testing.T) {
	runs := 20
	if text := os.Getenv("PCAPCTL_TEST_EVENTS"); text != "" {
		var err error
		if runs, err = strconv.Atoi(text); err != nil || runs < 1 {
			t.Fatalf("PCAPCTL_TEST_EVENTS=%q is not a number of runs", text)
		}
	}
	r := newRig(t)
	var log sentLog
	stop, stopped := make(chan struct{}), make(chan struct{})
	sender := r.Sender("v0")
	go func() {
		defer close(stopped)
		for n := uint32(0); ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			sender.Send(numbered(n, rand.IntN(100) == 0))
			log.add()
			if rand.IntN(4) == 0 {
				time.Sleep(time.Duration(rand.IntN(500)) * time.Microsecond)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	formats := []string{request.FormatPcap, request.FormatPcapng}
	for run := range runs {
		after := time.Duration(rand.IntN(40)) * time.Millisecond
		r.output = request.Output{Format: formats[run%2], Precision: map[int]string{0: request.PrecisionNano}[run%2]}
		r.adds = request.Additions{StopWhen: []filter.Spec{{Protocol: new("UDP"), LocalPort: new(strconv.Itoa(eventPort))}}, StopAfter: after}
		session := r.start(r.plan(`,"timeLimitInSeconds":60,"filters":[{"protocol":"UDP"}]`, "v1"))
		res, err := session.Run(t.Context())
		if err != nil || res.StopReason != capture.EventSeen {
			t.Fatalf("run %d: %s, %v", run, res.StopReason, err)
		}
		if n := res.Dropped.Total(); n > 0 {
			t.Logf("run %d: the machine was too slow: %d packets were dropped, and counted", run, n)
			continue
		}
		file, err := os.ReadFile(res.Files[0].Path)
		if err != nil {
			t.Fatal(err)
		}
		checkEvent(t, run, packetsOf(t, file), res, after, &log)
		if err := os.Remove(res.Files[0].Path); err != nil {
			t.Fatal(err)
		}
	}
}

func checkEvent(t *testing.T, run int, packets []pcapfile.Packet, res *capture.Result, after time.Duration, log *sentLog) {
	t.Helper()
	at := func(i int) time.Time { return time.Unix(packets[i].Sec, int64(packets[i].Nsec)) }
	first, last := -1, len(packets)-1
	for i := range packets {
		n, event := numberOf(&packets[i])
		if event && first < 0 {
			first = i
		}
		if i > 0 {
			if before, _ := numberOf(&packets[i-1]); n != before+1 {
				t.Fatalf("run %d: packet %d follows %d", run, n, before)
			}
		}
	}
	if first < 0 || res.Event.Number != uint64(first+1) || !res.Event.At.Equal(at(first)) {
		t.Fatalf("run %d: the event is packet %d of %d in the file; the result says %+v", run, first+1, len(packets), res.Event)
	}
	end := at(first).Add(after)
	if at(last).After(end) {
		t.Errorf("run %d: the last packet is %s behind the end", run, at(last).Sub(end))
	}
	// The next one is not in the file: when it had been sent, the time was over.
	n, _ := numberOf(&packets[last])
	if next := log.sent(n + 1); !next.After(end) {
		t.Errorf("run %d: packet %d is missing, which had been sent %s before the end", run, n+1, end.Sub(next))
	}
	if st := res.Resource().Properties.Statistics; st.EventPacket != uint64(first+1) || st.EventTime == "" || *st.StopAfterInSeconds != capture.Seconds(after) {
		t.Errorf("run %d: the statistics say packet %d at %q", run, st.EventPacket, st.EventTime)
	}
}

// In a ring of files the event and what followed it are among the newest; a small snap length hides it from nobody, nor does
// a cut to the headers.
func TestStopWhenInOtherCaptures(t *testing.T) {
	r := newRig(t)
	sender := r.Sender("v0")
	for name, of := range map[string]struct {
		properties string
		headers    bool
		compress   string
	}{
		"ring":        {properties: `,"continuousCapture":true,"captureSettings":{"fileCount":2,"fileSizeInBytes":102400}`},
		"snap length": {properties: `,"bytesToCapturePerPacket":20`},
		"headers":     {properties: `,"bytesToCapturePerPacket":20`, headers: true},
		"compressed":  {compress: request.CompressZstd},
		"many":        {properties: `,"filters":[` + manyFilters(3000) + `]`},
	} {
		t.Run(name, func(t *testing.T) {
			r.output = request.Output{Compress: of.compress}
			r.adds = request.Additions{StopWhen: []filter.Spec{{LocalPort: new(strconv.Itoa(eventPort))}}, StopAfter: 100 * time.Millisecond, HeadersOnly: of.headers}
			session := r.start(r.plan(of.properties, "v1"))
			done := make(chan struct{})
			go func() {
				defer close(done)
				for n := uint32(0); ; n++ {
					select {
					case <-session.Ended():
						return
					default:
					}
					sender.Send(numbered(n, n == 3000))
					if n%100 == 0 {
						time.Sleep(time.Millisecond)
					}
				}
			}()
			res, err := session.Run(t.Context())
			<-done
			if err != nil || res.StopReason != capture.EventSeen || res.Event.Number == 0 {
				t.Fatalf("%s, %+v, %v", res.StopReason, res.Event, err)
			}
			if len(res.Files) == 0 || res.Packets <= res.Event.Number {
				t.Errorf("%d packets in %d files, the event is number %d", res.Packets, len(res.Files), res.Event.Number)
			}
		})
	}
}

// manyFilters are too many for one program.
func manyFilters(n int) string {
	list := `{"protocol":"UDP","localPort":"5000;6000"}`
	for i := range n {
		list += `,{"protocol":"TCP","remoteIPAddress":"10.1.` + strconv.Itoa(i/250) + `.` + strconv.Itoa(i%250) + `","localPort":"` + strconv.Itoa(10+2*i) + `"}`
	}
	return list
}

// The event counts only when it is recorded: at a limit that leaves it out, the limit is the reason.
func TestStopWhenLimitComesFirst(t *testing.T) {
	r := newRig(t)
	sender := r.Sender("v0")
	r.adds = request.Additions{StopWhen: []filter.Spec{{LocalPort: new(strconv.Itoa(eventPort))}}}
	size := 24 + 3*(16+len(numbered(0, false)))
	session := r.start(r.plan(`,"totalBytesPerSession":`+strconv.Itoa(size)+`,"filters":[{"protocol":"UDP"}]`, "v1"))
	for n := range uint32(4) {
		sender.Send(numbered(n, n == 3))
	}
	res, err := session.Run(t.Context())
	if err != nil || res.StopReason != capture.SizeExceeded || res.Event.Number != 0 || res.Packets != 3 {
		t.Errorf("%s, %+v, %d packets, %v", res.StopReason, res.Event, res.Packets, err)
	}
}

// In a file the packets' own times count, from the event on.
func TestOfflineStopWhen(t *testing.T) {
	form := pcaptest.Form{Order: binary.LittleEndian}
	var packets []pcaptest.Packet
	for i := range 20 {
		packets = append(packets, pcaptest.Packet{Data: numbered(uint32(i), i == 4 || i == 6), Sec: uint32(100 + i)})
	}
	packets[7].Sec = 90 // a packet that is earlier changes nothing
	ng := pcaptest.Form{Order: binary.LittleEndian, NG: true}
	for name, file := range map[string][]byte{"x.cap": form.File(packets, pcapfile.Ethernet), "x.pcapng": ng.File(packets, pcapfile.Ethernet)} {
		for _, tt := range []struct {
			after  time.Duration
			filter string
			local  string
			want   []int
			reason capture.StopReason
			number uint64
		}{
			{5 * time.Second, "", "", []int{100, 101, 102, 103, 104, 105, 106, 90, 108, 109}, capture.EventSeen, 5},
			{0, "", "", []int{100, 101, 102, 103, 104}, capture.EventSeen, 5},
			{time.Hour, "", "", []int{100, 101, 102, 103, 104, 105, 106, 90, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119}, capture.EndOfFile, 5},
			{time.Second, `,"filters":[{"localPort":"6000"}]`, "", []int{104}, capture.EventSeen, 1},
			{time.Second, `,"filters":[{"localPort":"5000"}]`, "10.0.0.2", []int{100, 101, 102, 103, 105, 90, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119}, capture.EndOfFile, 0},
		} {
			dir := t.TempDir()
			c := mustConfig(t, savedAs(dir, name)+tt.filter, request.Host{
				GOOS: "linux", CapturesDir: dir, Now: time.Now(), FromFile: true,
				Additions: request.Additions{StopWhen: []filter.Spec{{LocalPort: new("6000")}}, StopAfter: tt.after},
			})
			o := bytesSource(file)
			if tt.local != "" {
				o.Local = []netip.Prefix{netip.MustParsePrefix(tt.local + "/32")}
			}
			session, err := startFile(c, o)
			if err != nil {
				t.Fatal(err)
			}
			res, err := session.Run(t.Context())
			if err != nil || res.StopReason != tt.reason || res.Event.Number != tt.number || tt.number > 0 && res.Event.At.Unix() != 104 {
				t.Errorf("%s, %+v: %s, %+v, %v", name, tt, res.StopReason, res.Event, err)
			}
			out, err := os.ReadFile(c.FilePath)
			if err != nil {
				t.Fatal(err)
			}
			if got := numbers(t, out); !slices.Equal(got, tt.want) {
				t.Errorf("%s, %+v: packets of the seconds %v", name, tt, got)
			}
		}
	}
}
