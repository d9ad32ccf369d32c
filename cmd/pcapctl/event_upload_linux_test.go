package main

import (
	"encoding/binary"
	"testing"

	"pcapctl/capture"
)

// A capture that goes to a blob only ends at its event as any other, beside its own upload: the blob has what preceded the
// event and what followed it, and of each packet the headers.
func TestUploadUntilTheEvent(t *testing.T) {
	t.Parallel()
	r := newBlobRig(t)
	run := r.capture("--storage-path", r.url("captures/event.cap"), "--headers-only", "--exclude", "protocol=ICMP",
		"--stop-when", "protocol=UDP,localPort=53", "--stop-after", "500ms")
	r.send(300)
	event := make([]byte, 100)
	copy(event, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00")
	binary.BigEndian.PutUint16(event[16:], uint16(len(event)-14))
	copy(event[22:], "\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
	binary.BigEndian.PutUint16(event[34:], 1000)
	binary.BigEndian.PutUint16(event[36:], 53)
	binary.BigEndian.PutUint16(event[38:], uint16(len(event)-34))
	r.out.Send(event)
	r.send(20)
	run.wait(0)
	st := run.statistics()
	if st.EventPacket != 301 || st.EventTime == "" || st.PacketsCaptured != 321 || st.BytesCaptured != 320*14+42 || len(st.Blobs) != 1 || !st.HeadersOnly {
		t.Errorf("%+v", st)
	}
	if got := run.r.run(0, "show", "s", "--query", "properties.stopReason", "-o", "tsv").out.String(); got != string(capture.EventSeen)+"\n" {
		t.Errorf("stop reason %q", got)
	}
	r.packets(r.blob("captures/event.cap"), 321)
}
