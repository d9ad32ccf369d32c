package caller

import (
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"

	"pcapctl/storage/private"
)

// OpenTrusted opens a regular file for reading that nobody but administrators, Windows itself and the user of this process
// may have written: it belongs to one of them, nobody else may write to it, and nobody else may remove or rename it or
// a folder above it. Others may make files and folders beside it, as every user may in C:\ProgramData. No link leads to it.
//
// Errors, for errors.Is: ErrUntrusted, and those of opening.
func OpenTrusted(path string, _ ...int) (*os.File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	// From above: what is below a folder that nobody else may change stays there while it is looked at.
	var above []string
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		above = append([]string{dir}, above...)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	for _, dir := range above {
		f, rights, err := look(dir)
		if err != nil {
			return nil, err
		}
		_ = f.Close()
		if rights.Moved && dir != filepath.Dir(dir) || rights.Emptied {
			return nil, untrusted(dir, "may be changed by others than administrators and you; `%s` ends that", private.ClosingCommand(dir, true))
		}
	}
	f, rights, err := look(path)
	switch {
	case err != nil:
		return nil, err
	case rights.Written:
		err = untrusted(path, "may be changed by others than administrators and you; `%s` ends that", private.ClosingCommand(path, false))
	default:
		st, serr := f.Stat()
		if serr == nil && !st.Mode().IsRegular() {
			serr = untrusted(path, "is not a regular file")
		}
		err = serr
	}
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// look opens what has the path itself, and tells whose it is.
func look(path string) (*os.File, private.Rights, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|windows.FILE_FLAG_OPEN_REPARSE_POINT|windows.FILE_FLAG_BACKUP_SEMANTICS, 0)
	if err != nil {
		return nil, private.Rights{}, err
	}
	rights := private.RightsOf(f)
	st, err := f.Stat()
	switch {
	case err != nil:
	case st.Mode()&(fs.ModeSymlink|fs.ModeIrregular) != 0:
		err = untrusted(path, "is a link, which somebody else may lead elsewhere")
	case !private.Trusted(rights.Owner) && !(rights.Owner == private.User() && rights.Owner != ""):
		err = untrusted(path, "belongs to %s; as administrator `icacls \"%s\" /setowner \"*%s\"` ends that", private.NameOf(rights.Owner), path, private.Administrators)
	}
	if err != nil {
		_ = f.Close()
		return nil, rights, err
	}
	return f, rights, nil
}
