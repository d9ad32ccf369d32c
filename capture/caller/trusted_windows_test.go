package caller

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/windows"

	"pcapctl/capture/testwine"
	"pcapctl/storage/private"
)

// A file that only this user and administrators may write to is believed; one that somebody else may change, or move away
// to put another there, is not.
func TestOpenTrusted(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(t.TempDir(), "config")
	must(private.MkdirAll(dir))
	path := filepath.Join(dir, "config.yaml")
	made, err := private.CreateFile(path, os.O_RDWR)
	must(err)
	_, err = made.WriteString("x")
	must(err)
	must(made.Close())
	f, err := OpenTrusted(path)
	must(err)
	var b [1]byte
	if _, err := f.Read(b[:]); err != nil || b[0] != 'x' {
		t.Errorf("%q, %v", b, err)
	}
	must(f.Close())
	if _, err := OpenTrusted(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := OpenTrusted(dir); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a folder: %v", err)
	}

	for _, what := range []string{path, dir} {
		sd, err := windows.SecurityDescriptorFromString("D:P(A;;FA;;;WD)")
		must(err)
		before, err := windows.GetNamedSecurityInfo(what, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
		must(err)
		dacl, _, err := sd.DACL()
		must(err)
		old, _, err := before.DACL()
		must(err)
		must(windows.SetNamedSecurityInfo(what, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION, nil, nil, dacl, nil))
		if f, err := OpenTrusted(path); !errors.Is(err, ErrUntrusted) {
			if err == nil {
				must(f.Close())
			}
			testwine.Broken(t, "it keeps of a DACL what fits into a mode")
			t.Errorf("everybody may change %s: %v", what, err)
		}
		must(windows.SetNamedSecurityInfo(what, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION, nil, nil, old, nil))
	}
}
