package main

import (
	"os"

	"golang.org/x/term"

	"pcapctl/capture"
)

// defaultWidth is the width of a terminal that does not tell its own.
const defaultWidth = 80

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// widthOf is the width in columns of the terminal that a stream leads to.
func widthOf(stream any) int {
	if f, ok := stream.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return defaultWidth
}

// glance is a result that has a form of its own for a person at a terminal who
// asked for none: lines that fit the width where their texts allow it.
type glance interface {
	glance(width int) []string
}

// bySudo says that somebody who is not root runs this as root. A capture file is then
// not for that user.
func bySudo() bool {
	uid := os.Getenv("SUDO_UID")
	return asRoot && uid != "" && uid != "0"
}

// howToRead is the command that shows the packets of a capture, "" when it has no
// file on this machine. Of several files it is that of the newest.
func howToRead(st *capture.Statistics, sudo bool) string {
	if st == nil || len(st.Files) == 0 {
		return ""
	}
	return readCommand(st.Files[len(st.Files)-1].Path, sudo)
}

// glance is the last line of a capture at a terminal: what came of it, and how to
// look at it.
func (v resourceView) glance(int) []string {
	p := &v.Properties
	if p.PacketCaptureStatus == capture.StatusRunning {
		return []string{"session " + v.Name + " captures: `pcapctl show-status " + v.Name + "` shows how it gets on, `pcapctl stop " + v.Name + "` ends it"}
	}
	line := string(p.StopReason)
	if st := p.Statistics; st != nil {
		line += ", " + plural(st.PacketsCaptured, "packet")
		switch read := howToRead(st, bySudo()); {
		case read != "":
			line += "; read it: " + read
		case len(st.Blobs) > 0:
			line += "; in " + st.Where()
		}
	}
	return []string{line}
}

// glance says nothing more: upload has said where the blob is.
func (uploaded) glance(int) []string { return nil }
