//go:build linux || windows

package registry

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/save"
	"pcapctl/storage"
)

// capFile is a capture file with that many records of 100 bytes, and a tail.
func capFile(t *testing.T, records int, tail string) string {
	t.Helper()
	b := pcapfile.AppendHeader(nil, pcapfile.Micro, pcapfile.Ethernet, 0)
	for range records {
		b = append(b, make([]byte, pcapfile.RecordHeaderLen)...)
		pcapfile.PutRecordHeader(b[len(b)-pcapfile.RecordHeaderLen:], 1, 0, 100, 100)
		b = append(b, make([]byte, 100)...)
	}
	path := filepath.Join(t.TempDir(), "x.cap")
	must(t, os.WriteFile(path, append(b, tail...), 0o600))
	return path
}

func TestRepair(t *testing.T) {
	at := func(n int) save.Written {
		return save.Written{Packets: uint64(n), Bytes: uint64(100 * n), Size: int64(24 + 116*n)}
	}
	garbage := strings.Repeat("\xff", 300)
	for _, test := range []struct {
		name    string
		records int
		tail    string
		known   save.Written
		want    save.Written
	}{
		{"whole", 5, "", at(5), at(5)},
		{"more than was known", 5, "", at(3), at(5)},
		{"cut in a header", 5, "\x01\x00\x00", at(3), at(5)},
		{"cut in a header, nothing more known", 5, "\x01\x00\x00", at(5), at(5)},
		{"garbage", 5, garbage, at(2), at(5)},
		{"nothing known", 5, garbage, save.Written{}, at(5)},
		{"less than was known", 5, garbage, at(50), at(5)},
		{"many", 30_000, garbage, at(1), at(30_000)}, // several buffers
		{"none", 0, "", at(0), at(0)},
	} {
		path := capFile(t, test.records, test.tail)
		id, err := storage.IdentifyPath(path)
		must(t, err)
		got, final := repair(path, id, test.known)
		st, err := os.Stat(path)
		must(t, err)
		if d := cmp.Diff(test.want, got); d != "" || !final || st.Size() != test.want.Size {
			t.Errorf("%s: %d bytes, final %v %s", test.name, st.Size(), final, d)
		}
	}
}

func TestRepairLeavesAlone(t *testing.T) {
	known := save.Written{Packets: 1, Bytes: 100, Size: 140}
	path := capFile(t, 2, "tail")
	id, err := storage.IdentifyPath(path)
	must(t, err)
	unchanged := func(name string, wantFinal bool, file storage.FileID, path string) {
		t.Helper()
		before, _ := os.Stat(path)
		got, final := repair(path, file, known)
		after, _ := os.Stat(path)
		if got != known || final != wantFinal || before != nil && after.Size() != before.Size() {
			t.Errorf("%s: %+v, final %v", name, got, final)
		}
	}
	// Somebody writes to it, or is just about to cut it.
	f, err := os.Open(path)
	must(t, err)
	if written, err := storage.Writers(f); err != nil || written { // which holds the lock from now on
		t.Fatal(written, err)
	}
	unchanged("locked", false, id, path)
	must(t, f.Close())
	// Another file has come to stand there, even with the same inode.
	later := id
	later.Birth++
	unchanged("another file", true, later, path)
	unchanged("never begun", true, storage.FileID{}, path)
	unchanged("gone", true, id, path+".gone")
	link := path + ".link"
	if err := os.Symlink(path, link); err != nil {
		t.Skip("no symbolic links: ", err)
	}
	unchanged("link", true, id, link)
}
