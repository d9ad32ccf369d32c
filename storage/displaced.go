package storage

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Displaced is the error of a file that is not where it was made: somebody has renamed or removed it or its folder, or
// unmounted its file system, while it was being written.
type Displaced struct {
	Path string // where it was made
	// Now is where it is, "" when no path leads to it any more.
	Now string
	// Copy is the path of the copy that was made of a file that was removed; "" when there is none.
	Copy string

	what   displacement
	memory bool  // its file system is in memory, and ends with its last file
	failed error // why there is no copy
}

type displacement uint8

const (
	fileRenamed displacement = iota
	fileRemoved
	folderRenamed
	folderRemoved
	unmounted
	covered // another file system was mounted over it
)

// Error implements error.
func (d *Displaced) Error() string {
	switch d.what {
	case fileRenamed:
		return fmt.Sprintf("%s was renamed while it was being written: it is %s now", d.Path, d.Now)
	case folderRenamed:
		return fmt.Sprintf("the folder of %s was renamed while the file was being written: it is %s now", d.Path, d.Now)
	case unmounted:
		if d.memory {
			return fmt.Sprintf("the file system of %s was unmounted while the file was being written: it was a file system in memory, and the file is lost", d.Path)
		}
		return fmt.Sprintf("the file system of %s was unmounted while the file was being written: the file is in it, and can be reached when it is mounted again", d.Path)
	case covered:
		return fmt.Sprintf("another file system was mounted over the folder of %s while the file was being written: the file is below it, and can be reached when that is unmounted", d.Path)
	case fileRemoved, folderRemoved:
	}
	text := d.Path + " was removed while it was being written"
	if d.what == folderRemoved {
		text = fmt.Sprintf("the folder of %s was removed while the file was being written", d.Path)
	}
	switch {
	case d.Copy != "":
		text += ": what was captured was copied to " + d.Copy
	case d.failed != nil:
		text += fmt.Sprintf(": it is lost, as no copy could be made: %v", d.failed)
	}
	return text
}

// Place is the path that leads to the file, or to its copy; "" for none.
func (d *Displaced) Place() string {
	if d.Now != "" {
		return d.Now
	}
	return d.Copy
}

// Lost reports whether what is in the file is gone when the process ends.
func (d *Displaced) Lost() bool {
	switch d.what {
	case fileRemoved, folderRemoved:
		return d.Copy == ""
	case unmounted:
		return d.memory
	case fileRenamed, folderRenamed, covered:
	}
	return false
}

// OfFolder reports whether it happened to the folder, and so to every file in it.
func (d *Displaced) OfFolder() bool { return d.what != fileRenamed && d.what != fileRemoved }

// FolderGone reports whether no further file of the folder could be reached either.
func (d *Displaced) FolderGone() bool { return d.OfFolder() && d.Now == "" }

// Look tells what has become of a file that is being written: nil when it is where it was made, or when that cannot be
// told, as on systems other than Linux and Windows. It may be called beside those who write.
func (f *File) Look() *Displaced {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look()
}

// Look tells what has become of the folder, for a file that is to be made in it: nil when it is where it was, or was only
// renamed.
func (d *Folder) Look(name string) *Displaced {
	if now, why := d.look(); now == "" {
		return &Displaced{Path: filepath.Join(d.path, name), what: why}
	}
	return nil
}

// Place is the path that leads to the folder now; ok is false when there is none.
func (d *Folder) Place() (path string, ok bool) {
	now, _ := d.look()
	return now, now != ""
}

// rescue copies the file d, which was removed, to a name in its folder, or in the captures folder where that has gone as
// well. linkat(2) does not give a file a name again that has lost its last one. f.mu is held.
func (f *File) rescue(d *Displaced) {
	var to *Folder
	switch {
	case d.what == fileRemoved:
		to = f.folder
	case d.what == folderRemoved && f.folder.top != f.folder:
		to = f.folder.top
	case d.what == folderRemoved:
		d.failed = errors.New("the folder that is gone is the captures folder itself")
		return
	default:
		return
	}
	dir, ok := to.Place()
	if !ok {
		d.failed = fmt.Errorf("%s cannot be reached any more either", to.path)
		return
	}
	c, err := f.copyTo(to)
	if err != nil {
		d.failed = err
		return
	}
	f.folder, f.base, f.id = c.folder, c.base, c.id
	d.Copy = filepath.Join(dir, c.base)
}

// copyTo copies the file into a folder, with what a spool has given back left out.
func (f *File) copyTo(to *Folder) (_ *File, err error) {
	given, err := Given(f.f)
	if err != nil {
		return nil, err
	}
	from := max(given, spoolHead)
	if free, _, ok := to.Space(); ok && free-to.least.Load() < f.size-max(0, given-spoolHead) {
		return nil, fmt.Errorf("%s has no room for %d bytes", to.path, f.size)
	}
	c, err := to.Create(to.freeName(f.base))
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Discard())
		}
	}()
	err = errors.Join(copyPart(c.f, f.f, 0, min(f.size, spoolHead)), copyPart(c.f, f.f, from, f.size-from), c.f.Truncate(f.size))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(c.sync(), c.Appear()); err != nil {
		return nil, err
	}
	return c, errors.Join(c.Close(), to.sync())
}

// copyPart copies n bytes at an offset, by copy_file_range(2) where there is that.
func copyPart(to, from *os.File, offset, n int64) error {
	if n <= 0 {
		return nil
	}
	if _, err := from.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	if _, err := to.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	copied, err := io.Copy(to, io.LimitReader(from, n))
	if err == nil && copied < n {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// freeName is the name, or one like it that nothing has.
func (d *Folder) freeName(name string) string {
	ext := filepath.Ext(name)
	if ext == ".gz" || ext == ".zst" {
		ext = filepath.Ext(strings.TrimSuffix(name, ext)) + ext
	}
	stem := strings.TrimSuffix(name, ext)
	for n := 1; d.Has(name); n++ {
		name = fmt.Sprintf("%s-copy%d%s", stem, n, ext)
	}
	return name
}
