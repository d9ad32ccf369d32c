package save

import (
	"encoding/binary"
	"errors"
	"syscall"
	"testing"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
)

// BenchmarkCompress is what compressing costs beside writing plain files, for
// packets of which a half is text and a half cannot be compressed.
func BenchmarkCompress(b *testing.B) {
	packets := batchOf(1514)[:1]
	data := packets[0].Data
	noise := uint64(88172645463325252)
	text := "GET /index.html HTTP/1.1\r\nHost: example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
	for _, compress := range []string{request.CompressNone, request.CompressZstd, request.CompressGzip} {
		b.Run("compress="+compress, func(b *testing.B) {
			e := encoders()["pcap"]
			r, again := benchRecorder(b, e, compress)
			b.SetBytes(int64(len(data)) + pcapfile.RecordHeaderLen)
			var before, after syscall.Rusage
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
			for b.Loop() {
				for at := 0; at+8 <= len(data)/2; at += 8 {
					noise ^= noise << 13
					noise ^= noise >> 7
					noise ^= noise << 17
					binary.LittleEndian.PutUint64(data[at:], noise)
				}
				copy(data[len(data)/2+int(noise%50):], text)
				if _, err := r.Add(packets); err != nil {
					b.Fatal(err)
				}
				if compress == request.CompressNone && r.size > 64<<20 {
					again()
				}
			}
			if err := errors.Join(r.Flush(), r.Finish()); err != nil {
				b.Fatal(err)
			}
			_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
			cpu := after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano()
			b.ReportMetric(float64(cpu)/float64(b.N), "cpu-ns/op")
			if compress != request.CompressNone {
				b.ReportMetric(100*float64(r.sink.Files()[0].Size)/float64(b.N*(len(data)+pcapfile.RecordHeaderLen)), "%size")
			}
		})
	}
}
