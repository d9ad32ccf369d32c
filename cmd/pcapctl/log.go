package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"pcapctl/capture/fault"
)

// The formats of log lines on stderr.
const (
	logText = "text"
	logJSON = "json"
)

var logFormats = []string{logText, logJSON}

// logger writes messages to stderr.
type logger struct {
	format  string // "" is text
	times   bool   // text lines begin with the time, as in a log file
	journal bool   // stderr leads to the journal: text lines begin with their priority
}

// open sets the format, "" for text, before the first line is written.
func (l *logger) open(format string, errs io.Writer) {
	if format == logJSON {
		l.format = logJSON
		return
	}
	l.format, l.journal = logText, isJournal(errs)
}

// plain tells whether messages are for a person who reads stderr, and not for a
// log.
func (l *logger) plain() bool { return l.format != logJSON && !l.times && !l.journal }

func (l *logger) write(w io.Writer, level slog.Level, msg string) {
	if l.format == logJSON {
		l.json(w).Log(context.Background(), level, msg)
		return
	}
	prefix := ""
	switch {
	case l.journal:
		prefix = priority(level)
	case l.times:
		prefix = time.Now().UTC().Format("2006-01-02T15:04:05.000Z ")
	}
	if level == slog.LevelWarn {
		msg = "warning: " + msg
	}
	var b strings.Builder
	first := "pcapctl: "
	for line := range strings.Lines(fault.Visible(msg)) {
		b.WriteString(prefix + first + strings.TrimSuffix(line, "\n") + "\n")
		first = ""
	}
	_, _ = io.WriteString(w, b.String())
}

func (l *logger) json(w io.Writer) *slog.Logger {
	return slog.New(slog.NewJSONHandler(escaping{w}, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// failure writes the error that ends the program, with what the API's envelope
// has and the exit code.
func (l *logger) failure(w io.Writer, err error) {
	l.json(w).Error(err.Error(), "error", envelopeOf(err).Error, "exitCode", exitCode(err))
}

// priority is the prefix by which the journal knows the level. sd-daemon(3).
func priority(level slog.Level) string {
	switch {
	case level >= slog.LevelError:
		return "<3>"
	case level >= slog.LevelWarn:
		return "<4>"
	default:
		return "<6>"
	}
}

// say writes a message to stderr.
func (a *app) say(format string, args ...any) {
	if a.quiet {
		return
	}
	defer a.aside()()
	a.log.write(a.err, slog.LevelInfo, fmt.Sprintf(format, args...))
}

func (a *app) warn(warnings ...string) {
	defer a.aside()()
	for _, w := range warnings {
		a.log.write(a.err, slog.LevelWarn, a.typed.message(w))
	}
}
