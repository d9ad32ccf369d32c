package save

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// A file of a ring that another program keeps for itself does not end the capture. It is told, and goes as soon as it can.
func TestRotateWithABusyFile(t *testing.T) {
	for _, closed := range []bool{true, false} {
		f := openFixture(t, variant{"rotating", "", 2}, t.TempDir(), 20_000)
		first := f.sink.Files()[0].Path
		other, err := os.Open(first) // which does not share removal
		if err != nil {
			t.Fatal(err)
		}
		for from := 0; from < 2000; from += 100 {
			if from == 1000 && closed {
				if err := other.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if left, err := f.Add(numbered(from, 100, 100)); left != nil || err != nil {
				t.Fatal(left, err)
			}
		}
		if err := f.Finish(); err != nil {
			t.Fatal(err)
		}
		_, err = os.Lstat(first)
		if gone := errors.Is(err, fs.ErrNotExist); gone != closed {
			t.Errorf("the file was closed: %v, and it is gone: %v", closed, gone)
		}
		warns := strings.Join(f.events.warns, "\n")
		if !strings.Contains(warns, first+" is open in another program") || strings.Contains(warns, "could not be removed") == closed {
			t.Errorf("told: %s", warns)
		}
		if len(f.sink.Files()) != 2 {
			t.Errorf("%d files", len(f.sink.Files()))
		}
		left, err := os.ReadDir(f.o.Folder.Path())
		if err != nil || len(left) != 2 && closed || len(left) != 3 && !closed {
			t.Errorf("left: %v, %v", left, err)
		}
		_ = other.Close()
	}
}
