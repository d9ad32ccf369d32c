package main

import (
	"fmt"
	"os"
	"syscall"
)

// isJournal says whether a stream leads to the systemd journal. systemd tells
// which file that is by device and inode, since a variable alone is inherited
// by programs that write elsewhere. systemd.exec(5), $JOURNAL_STREAM.
func isJournal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	if err != nil {
		return false
	}
	s, ok := st.Sys().(*syscall.Stat_t)
	return ok && os.Getenv("JOURNAL_STREAM") == fmt.Sprintf("%d:%d", s.Dev, s.Ino)
}
