package main

import (
	"fmt"
	"os"
	"syscall"
)

// isJournal tells whether a stream leads to the systemd journal. The variable has
// the device and the inode of the journal's stream: a program that inherits it
// may write to another file. systemd.exec(5), $JOURNAL_STREAM.
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
