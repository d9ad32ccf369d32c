package request

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/pcapfile"
)

func TestOutputOfPaths(t *testing.T) {
	for _, test := range []struct {
		file   string
		output Output
		want   string // the path, or a part of the fault
		format pcapfile.Format
		packed string
	}{
		{"x", Output{}, "x.cap", pcapfile.Micro, ""},
		{"x.pcapng", Output{}, "x.pcapng", pcapfile.NG, ""},
		{"x", Output{Format: FormatPcapng}, "x.pcapng", pcapfile.NG, ""},
		{"x.pcap", Output{Format: FormatPcapng}, "x.pcap", pcapfile.NG, ""},
		{"x.pcap", Output{Precision: PrecisionNano}, "x.pcap", pcapfile.Nano, ""},
		{"x.cap.zst", Output{}, "x.cap.zst", pcapfile.Micro, CompressZstd},
		{"x.pcapng.gz", Output{}, "x.pcapng.gz", pcapfile.NG, CompressGzip},
		{"x.gz", Output{Compress: CompressGzip}, "x.cap.gz", pcapfile.Micro, CompressGzip},
		{"x", Output{Compress: CompressZstd, Format: FormatPcapng}, "x.pcapng.zst", pcapfile.NG, CompressZstd},
		{"x.cap", Output{Compress: CompressOff}, "x.cap", pcapfile.Micro, ""},
		{"x.cap.gz", Output{Compress: CompressZstd}, "another compression", 0, ""},
		{"x.cap.gz", Output{Compress: CompressOff}, "another compression", 0, ""},
		{"x.pcapng.zst", Output{Format: FormatPcap}, "extension of pcapng", 0, ""},
		{"x.pcapng", Output{Precision: PrecisionMicro}, "pcapng files have nanoseconds", 0, ""},
		{"x", Output{Format: "erf"}, "is not a valid format", 0, ""},
		{"x", Output{Precision: "pico"}, "is not a valid resolution", 0, ""},
		{"x", Output{Compress: "xz"}, "is not a valid compression", 0, ""},
	} {
		h := testHost()
		h.Output = test.output
		c, err := NewConfig(testRequest(t, `"storageLocation":{"filePath":"/var/captures/`+test.file+`"}`), h)
		if err != nil {
			if !strings.Contains(err.Error(), test.want) || strings.HasPrefix(test.want, "x") {
				t.Errorf("%s, %+v: %v", test.file, test.output, err)
			}
			continue
		}
		roundTrip(t, c, h)
		if diff := cmp.Diff([]any{"/var/captures/" + test.want, test.format, test.packed}, []any{c.FilePath, c.Format, c.Compress}); diff != "" {
			t.Errorf("%s, %+v: %s", test.file, test.output, diff)
		}
	}
	// The blob goes by the file.
	storage := func(file, blob string) string {
		return `"storageLocation":{"storageId":"` + testAccount + `","filePath":"/var/captures/` + file + `","storagePath":"` + blob + `"}`
	}
	c, err := NewConfig(testRequest(t, storage("x.pcapng.zst", "")), testHost())
	if err != nil || !strings.HasSuffix(c.Blob.Address.Name, ".pcapng.zst") || c.Compress != CompressZstd {
		t.Errorf("%v: %+v", err, c)
	}
	if _, err = NewConfig(testRequest(t, storage("x.cap", "https://pcstore.blob.core.windows.net/abc/x.cap.gz")), testHost()); err == nil || !strings.Contains(err.Error(), "same extension") {
		t.Errorf("%v", err)
	}
}
