package main

import (
	"log"
	"strings"

	"pcapctl/capture/fault"
)

// libraryLog takes what libraries write to the standard logger, such as
// net/http's "Unsolicited response …" with bytes of the server. It is for
// --debug, quoted and bounded; nobody else can do anything with it.
type libraryLog struct{ a *app }

// Write implements io.Writer.
func (l libraryLog) Write(p []byte) (int, error) {
	if l.a.debug {
		l.a.say("a library says: %s", fault.Quote(strings.TrimSpace(string(p))))
	}
	return len(p), nil
}

// takeLibraryLog makes the standard logger write to ours.
func (a *app) takeLibraryLog() {
	log.SetFlags(0)
	log.SetOutput(libraryLog{a})
}
