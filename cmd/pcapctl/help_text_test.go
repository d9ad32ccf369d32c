package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// Every help fits 80 columns, groups the flags, has its exit codes last, and quotes
// what a shell would take apart in its examples.
func TestHelp(t *testing.T) {
	t.Parallel()
	root := (&app{}).rootCommand(t.Output())
	commands := append([]*cobra.Command{root, helpCommand()}, root.Commands()...)
	completion, _, err := root.Find([]string{"completion"})
	must(t, err)
	commands = append(commands, completion.Commands()...)
	unquoted := regexp.MustCompile(`[=@ ][^'" ]*[;{}\[\]?*&|<>][^'" ]*`)
	for _, cmd := range commands {
		if cmd.Hidden {
			continue
		}
		var b bytes.Buffer
		writeHelp(&b, cmd)
		text := b.String()
		for line := range strings.Lines(text) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > helpWidth {
				t.Errorf("%s: a line of %d columns: %s", cmd.CommandPath(), n, line)
			}
		}
		for line := range strings.Lines(cmd.Long) { // a longer one is broken in two, and its next stays where it is
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > helpWidth && cmd.Parent() != completion {
				t.Errorf("%s: a line of %d columns in Long: %s", cmd.CommandPath(), n, line)
			}
		}
		if regexp.MustCompile(`(?m)^ +--[a-z-]+ long( |$)`).MatchString(text) {
			t.Errorf("%s: a flag whose value is called long", cmd.CommandPath())
		}
		for line := range strings.Lines(cmd.Example) {
			bare := regexp.MustCompile(`'[^']*'|"[^"]*"`).ReplaceAllString(line, "''")
			if found := unquoted.FindString(bare); found != "" || strings.Count(bare, ",") > 0 {
				t.Errorf("%s: an example with something that is not quoted, %q: %s", cmd.CommandPath(), found, line)
			}
			if strings.Contains(bare, "--filter ") && !strings.Contains(bare, "--filter ''") {
				t.Errorf("%s: a filter without quotes: %s", cmd.CommandPath(), line)
			}
		}
		_, codes, has := strings.Cut(text, "\nExit codes:\n")
		wants := cmd == root || cmd.Name() == "create" || cmd.Name() == "inspect" || cmd.Name() == "wait"
		if has != wants || has && regexp.MustCompile(`(?m)^[^ ]`).MatchString(codes) {
			t.Errorf("%s: exit codes: %v, followed by %q", cmd.CommandPath(), has, codes)
		}
		cmd.LocalFlags()
		if cmd.Name() == "create" || cmd.Name() == "validate" {
			for _, g := range helpGroups {
				if g.heading != otherFlags && !strings.Contains(text, "\n"+g.heading+":\n") {
					t.Errorf("%s: no group %q", cmd.CommandPath(), g.heading)
				}
			}
		}
	}
}
