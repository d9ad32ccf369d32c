package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const (
	helpWidth  = 80
	helpColumn = 30 // where the descriptions of flags begin
)

// helpGroup is a heading in a command's help, with the flags below it in the order
// in which somebody needs them.
type helpGroup struct {
	heading string
	flags   []string
}

// helpGroups are the groups of flags by purpose. A flag that none names stands in
// the last but one; those that every command has stand in the last.
var helpGroups = []helpGroup{
	{"What is captured", []string{"interface", "filter", "exclude", "host", "port", "filters", "netns", "container", "promiscuous", "icmp-errors", "read-file", "local-address"}},
	{"When it ends, and how much is kept", []string{
		"time-limit-in-seconds", "stop-when", "stop-after", "total-bytes-per-session", "packet-limit", "bytes-to-capture-per-packet", "headers-only", "continuous-capture", "capture-settings", "rotate-every", "min-free",
	}},
	{"Where it is saved", []string{"file-path", "result-file", "local-path", "format", "compress", "timestamp-precision", "on-file", "on-file-timeout", "context"}},
	{"In a storage account", []string{"storage-account", "storage-path", "auth-mode", "upload-grace", "spool-dir", "spool-size"}},
	{"How it runs", []string{"name", "no-wait", "if-exists", "fail-on-drops", "inspect", "ready-fd", "buffer-size"}},
	{"The request", []string{"file", "target", "vm", "resource-group", "target-type"}},
	{otherFlags, nil},
	{everywhereFlags, []string{"output", "query", "quiet", "verbose", "debug", "log-format", "captures-dir", "state-dir", "config", "help"}},
}

const (
	otherFlags      = "Flags"
	everywhereFlags = "Flags of every command"
)

// The groups of commands in the program's help.
const (
	groupCapture  = "capture"
	groupLook     = "look"
	groupSessions = "sessions"
	groupProgram  = "program"
)

// groupCommands says what each command is for.
func groupCommands(root *cobra.Command) {
	root.AddGroup(
		&cobra.Group{ID: groupCapture, Title: "To capture"},
		&cobra.Group{ID: groupLook, Title: "To look at a capture"},
		&cobra.Group{ID: groupSessions, Title: "Sessions, those that capture and those that have ended"},
		&cobra.Group{ID: groupProgram, Title: "The program"},
	)
	groups := map[string]string{
		"create": groupCapture, "validate": groupCapture, "interfaces": groupCapture, "upload": groupCapture, "extcap": groupCapture,
		"inspect": groupLook,
		"version": groupProgram, "help": groupProgram, "completion": groupProgram,
	}
	for _, cmd := range root.Commands() {
		cmd.GroupID = groups[cmd.Name()]
		if cmd.GroupID == "" {
			cmd.GroupID = groupSessions
		}
	}
}

// withExitCodes are the commands whose help ends with the exit codes.
var withExitCodes = []string{"pcapctl", "create", "inspect", "wait"}

// writeHelp writes the help of a command: what it does, how it is called, examples,
// commands and flags by purpose, and the exit codes at the end.
func writeHelp(w io.Writer, cmd *cobra.Command) {
	var b strings.Builder
	about := cmd.Long
	if about == "" {
		about = cmd.Short + "."
	}
	b.WriteString(fitText(about) + "\n\nUsage:\n")
	if cmd.Runnable() {
		b.WriteString("  " + strings.TrimSuffix(cmd.UseLine(), " [flags]") + "\n")
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("  " + cmd.CommandPath() + " [command]\n")
	}
	if len(cmd.Aliases) > 0 {
		b.WriteString("\nAlso called: " + strings.Join(cmd.Aliases, ", ") + "\n")
	}
	if cmd.Example != "" {
		b.WriteString("\nExamples:\n" + localExample(cmd.Example) + "\n")
	}
	writeCommands(&b, cmd)
	writeFlags(&b, cmd)
	if slices.Contains(withExitCodes, cmd.Name()) {
		b.WriteString("\n" + exitCodeHelp() + "\n")
	}
	_, _ = io.WriteString(w, b.String())
}

func writeCommands(b *strings.Builder, cmd *cobra.Command) {
	groups := cmd.Groups()
	if len(groups) == 0 {
		groups = []*cobra.Group{{Title: "Commands"}}
	}
	for _, g := range groups {
		heading := "\n" + g.Title + ":\n"
		for _, sub := range cmd.Commands() {
			if sub.GroupID != g.ID || !sub.IsAvailableCommand() && sub.Name() != "help" {
				continue
			}
			b.WriteString(heading)
			heading = ""
			writeEntry(b, "  "+sub.Name(), sub.Short, 2+14)
		}
	}
}

func writeFlags(b *strings.Builder, cmd *cobra.Command) {
	cmd.InitDefaultHelpFlag()
	left := map[string]*pflag.Flag{}
	add := func(f *pflag.Flag) {
		if !f.Hidden {
			left[f.Name] = f
		}
	}
	cmd.LocalFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	named := map[string]bool{}
	for _, g := range helpGroups {
		for _, name := range g.flags {
			named[name] = true
		}
	}
	for _, g := range helpGroups {
		names := g.flags
		if g.heading == otherFlags {
			for name := range left {
				if !named[name] {
					names = append(names, name)
				}
			}
			slices.Sort(names)
		}
		heading := "\n" + g.heading + ":\n"
		for _, name := range names {
			if f := left[name]; f != nil {
				b.WriteString(heading)
				heading = ""
				writeFlag(b, f)
			}
		}
	}
}

func writeFlag(b *strings.Builder, f *pflag.Flag) {
	value, usage := pflag.UnquoteUsage(f)
	name := "      --" + f.Name
	switch alias := aliasFor(f.Name); {
	case alias == "":
	case f.Shorthand == "":
		name, usage = "      --"+alias, usage+" (also --"+f.Name+")"
	default: // the shorthand is of the name
		usage += " (also --" + alias + ")"
	}
	if f.Shorthand != "" {
		name = "  -" + f.Shorthand + ", --" + f.Name
	}
	switch {
	case value == "stringArray":
		name += " value"
	case value != "":
		name += " " + value
	}
	shown := f.DefValue != "" && f.DefValue != "false" && f.DefValue != "[]" && f.DefValue != "-1"
	if shown && !strings.Contains(usage, "(default") {
		usage += " (default " + f.DefValue + ")"
	}
	writeEntry(b, name, usage, helpColumn)
}

// writeEntry writes a name and what it is, from a column on.
func writeEntry(b *strings.Builder, name, about string, column int) {
	if utf8.RuneCountInString(name)+columnGap > column {
		b.WriteString(name + "\n")
		name = ""
	}
	for _, line := range wrap(about, helpWidth-column) {
		_, _ = fmt.Fprintf(b, "%-*s%s\n", column, name, line)
		name = ""
	}
}

// fitText wraps the lines of a text that are too long, and keeps all others.
func fitText(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if utf8.RuneCountInString(line) <= helpWidth {
			b.WriteString(line + "\n")
			continue
		}
		indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
		for _, part := range wrap(line, helpWidth-len(indent)) {
			b.WriteString(indent + part + "\n")
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
