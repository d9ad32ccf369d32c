package storage

import (
	"os"
	"path/filepath"
	"testing"
)

func TestIdentityOfFiles(t *testing.T) {
	dir := t.TempDir()
	ids := map[FileID]string{{}: "no file"}
	for _, name := range []string{"a", "b"} {
		f, err := os.Create(filepath.Join(dir, name))
		must(t, err)
		id, err := IdentifyFile(f)
		must(t, err)
		if other, ok := ids[id]; ok {
			t.Errorf("%s has the identity of %s: %+v", name, other, id)
		}
		ids[id] = name
		_, err = f.WriteString("more")
		must(t, err)
		must(t, f.Close())
		must(t, os.Rename(f.Name(), f.Name()+".new"))
		if now, err := IdentifyPath(f.Name() + ".new"); err != nil || now != id {
			t.Errorf("%s, longer and renamed: %+v, %v; want %+v", name, now, err, id)
		}
	}
	if id, err := IdentifyPath(filepath.Join(dir, "absent")); err == nil || id != (FileID{}) {
		t.Errorf("an absent file: %+v, %v", id, err)
	}
	if err := os.Symlink(filepath.Join(dir, "a.new"), filepath.Join(dir, "link")); err != nil {
		t.Skip("no symbolic links: ", err)
	}
	if id, err := IdentifyPath(filepath.Join(dir, "link")); err == nil && ids[id] != "" {
		t.Errorf("the link was followed to %s", ids[id])
	}
}
