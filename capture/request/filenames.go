package request

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/storage/azblob/bloburl"
)

// FirstRotatedPath is the path of a file of a rotation: the name of the request's path,
// the time at which the session began, and the number of the file. Names sort by
// time: the number has leading zeros, and a seventh digit when there are more
// than a million files.
func FirstRotatedPath(path string, start time.Time, sequence int) string {
	name, ext := splitExtension(path)
	return fmt.Sprintf("%s_%s_%06d%s", name, start.UTC().Format(StampLayout), sequence, ext)
}

// RotatedPath is the path of another file of a rotation, of which the first is given.
func RotatedPath(first string, sequence int) string {
	name, ext := splitExtension(first)
	if at := strings.LastIndexByte(name, '_'); at >= 0 {
		name = name[:at]
	}
	return fmt.Sprintf("%s_%06d%s", name, sequence, ext)
}

// FirstRotatedAddress is the address of the blob of a file of a rotation, named as
// FirstRotatedPath names files.
func FirstRotatedAddress(a bloburl.Address, start time.Time, sequence int) bloburl.Address {
	return a.WithName(FirstRotatedPath(a.Name, start, sequence))
}

// RotatedAddress is the address of the blob of another file of a rotation, of which the
// first is given.
func RotatedAddress(first bloburl.Address, sequence int) bloburl.Address {
	return first.WithName(RotatedPath(first.Name, sequence))
}

// mostRotatedFiles is a bound of how many files a session has.
const mostRotatedFiles = 1e9

// rotatedNameFaults says that the names of rotated files would be too long.
func (v *validator) rotatedNameFaults(path string) []string {
	longest := FirstRotatedPath(path, time.Unix(0, 0), mostRotatedFiles)
	if rulesOf(v.host).tooLong([]string{lastName(longest)}, longest) == "" {
		return nil
	}
	return []string{fmt.Sprintf("the names of the files of a ring are %d bytes longer than %s, with the time and the number of each; choose a name that is shorter by that",
		len(longest)-len(path), fault.Quote(lastName(path)))}
}

func splitExtension(path string) (name, ext string) {
	name, packed := splitCompress(path)
	ext = filepath.Ext(name)
	return strings.TrimSuffix(name, ext), ext + packed
}
