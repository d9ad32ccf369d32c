package main

import (
	"errors"
	"log/slog"
	"strings"

	"pcapctl/capture/fault"
)

// explain says how a plan is carried out, for --verbose and --debug.
func (a *app) explain(p *livePlan) {
	if !a.verbose && !a.debug {
		return
	}
	if a.settings.used != "" {
		a.say("configuration file: %s", a.settings.used)
	}
	a.say("session %s for %s", p.Config.Name, p.Config.Target)
	a.say("link type %s, kernel filter of %d instructions (%s), ring of %s",
		p.spec.LinkType, len(p.spec.Program.Raw), p.spec.FilterMode(), sizeText(int64(p.spec.Ring)))
	if a.debug {
		for line := range strings.Lines(p.spec.Program.Disassemble()) {
			a.say("%s", strings.TrimRight(line, "\n"))
		}
	}
}

// print writes a result to stdout. A result that cannot be written is an
// error: a full disk behind a redirection must not look like success.
func (a *app) print(v any) error {
	a.output.nothing = ""
	err := a.output.print(a.out, v)
	if a.output.nothing != "" {
		a.warn(a.output.nothing)
	}
	if err != nil {
		if fault.ClassOf(err) != fault.Internal {
			return err
		}
		return fault.Errorf(fault.Internal, "write the result: %w", err)
	}
	return nil
}

// printDone prints the result of something that cannot be done again, such as a
// capture. A query that cannot be applied to it neither loses the result nor
// changes the exit code.
func (a *app) printDone(v any) error {
	err := a.print(v)
	if !errors.Is(err, errQuery) {
		return err
	}
	a.warn(err.Error() + "; here is the whole result")
	a.output.expr = nil
	return a.print(v)
}

// printError writes an error that has to do with the exit code. Where the log is
// JSON, it is a line of it. Where the output is JSON, it is the API's error
// envelope, off a terminal as one line, as a program reads it. With other outputs,
// and at a terminal where -o did not ask for JSON, it is plain text.
func (a *app) printError(err error) {
	defer a.aside()()
	asJSON := a.log.plain() && a.output.isJSON()
	switch {
	case a.log.format == logJSON:
		a.log.failure(a.err, err)
	case asJSON && !isTerminal(a.err):
		_ = writeJSONLine(a.err, envelopeOf(err))
	case asJSON && a.output.asked:
		_ = writeJSON(a.err, envelopeOf(err))
	default:
		a.log.write(a.err, slog.LevelError, err.Error())
	}
}
