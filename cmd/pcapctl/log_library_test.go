package main

import (
	"bytes"
	"log"
	"strings"
	"testing"
)

// What a library logs of a server's bytes never reaches stderr as it is.
func TestLibraryLog(t *testing.T) {
	writer, flags := log.Writer(), log.Flags()
	t.Cleanup(func() {
		log.SetOutput(writer)
		log.SetFlags(flags)
	})
	for _, debug := range []bool{false, true} {
		var errs bytes.Buffer
		a := &app{err: &errs, debug: debug}
		a.takeLibraryLog()
		log.Printf("Unsolicited response received on idle HTTP channel starting with %s", "\x1b[31m"+strings.Repeat("x", 10_000))
		got := errs.String()
		if strings.ContainsRune(got, 0x1b) || (got != "") != debug || len(got) > 400 {
			t.Errorf("debug %v: %d bytes, %.200q", debug, len(got), got)
		}
	}
}
