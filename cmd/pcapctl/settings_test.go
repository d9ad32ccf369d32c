package main

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/viper"

	"pcapctl/capture/fault"
)

var quoted = regexp.MustCompile("`([^`]+)`")

// docs/commands.md lists the settings of the table, each once and no other, and
// names each flag.
func TestSettingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/commands.md")
	must(t, err)
	_, section, ok := strings.Cut(string(text), "\n## Settings\n")
	if !ok {
		t.Fatal("docs/commands.md has no section Settings")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			documented = append(documented, m[1])
		}
	}
	keys := settingKeys()
	slices.Sort(keys)
	slices.Sort(documented)
	if !slices.Equal(keys, documented) {
		t.Errorf("the program has the settings\n%q\nand docs/commands.md\n%q", keys, documented)
	}
	for _, info := range settingTable {
		if named := strings.Contains(string(text), "--"+info.key); named != (info.on != noCommand) {
			t.Errorf("setting %s has flags on %b; docs/commands.md names its flag: %v", info.key, info.on, named)
		}
	}
}

// Every setting has its flag on its commands, is read from the environment and
// from a configuration file, and completes its choices.
func TestSettingsAreRead(t *testing.T) {
	commands := map[string]commandSet{"create": captureCommands, "validate": captureCommands, "upload": uploadCommand, "interfaces": interfacesCommand, "list": noCommand}
	for _, info := range settingTable {
		t.Run(info.key, func(t *testing.T) {
			if info.linuxOnly != "" && runtime.GOOS != linux {
				t.Skip("refused: ", info.linuxOnly)
			}
			root := (&app{}).rootCommand(t.Output())
			for _, cmd := range root.Commands() {
				on, listed := commands[cmd.Name()]
				if !listed {
					continue
				}
				flag := cmd.Flags().Lookup(info.key)
				if (flag != nil) != (info.on&on != 0) || (root.PersistentFlags().Lookup(info.key) != nil) != (info.on == everyCommand) {
					t.Errorf("%s: the flag of a setting that is on %b: %v", cmd.Name(), info.on, flag)
				}
				if flag == nil {
					continue
				}
				complete, ok := cmd.GetFlagCompletionFunc(info.key)
				if ok != (info.choices != nil || info.complete != nil) {
					t.Errorf("%s: completion: %v", cmd.Name(), ok)
				}
				if info.choices != nil {
					if got, _ := complete(cmd, nil, ""); !slices.Equal(got, info.choices) {
						t.Errorf("%s completes %q", cmd.Name(), got)
					}
				}
			}
			list, _, err := root.Find([]string{"list"})
			must(t, err)
			file := filepath.Join(t.TempDir(), "c.yaml")
			must(t, os.WriteFile(file, []byte(info.key+": from-file\n"), 0o600))
			s := settings{file: file}
			must(t, s.read(list.Flags()))
			if got := info.text(&s); got != "from-file" {
				t.Errorf("from the file: %q", got)
			}
			t.Setenv("PCAPCTL_"+strings.ToUpper(strings.ReplaceAll(info.key, "-", "_")), "from-env")
			must(t, s.read(list.Flags()))
			if got := info.text(&s); got != "from-env" {
				t.Errorf("from the environment: %q", got)
			}
		})
	}
}

// What is for Linux only is refused elsewhere, by the name of what gives it, and not passed over; its default is none.
func TestRefuseForeignSettings(t *testing.T) {
	var want []string
	for _, info := range settingTable {
		if info.linuxOnly != "" {
			want = append(want, info.key)
		}
	}
	if !slices.Equal(want, []string{"netns", "container", "context", "sandbox"}) {
		t.Errorf("for Linux only: %q", want)
	}
	read := func(t *testing.T, file string, args ...string) error {
		t.Helper()
		root := (&app{}).rootCommand(t.Output())
		create, _, err := root.Find([]string{"create"})
		must(t, err)
		must(t, create.ParseFlags(args))
		s := settings{v: viper.New(), used: file}
		for _, info := range settingTable {
			s.v.SetDefault(info.key, info.preset)
			must(t, s.v.BindEnv(info.key, info.variable()))
			if f := create.Flags().Lookup(info.key); f != nil {
				must(t, s.v.BindPFlag(info.key, f))
			}
		}
		if file != "" {
			s.v.SetConfigType("yaml")
			must(t, s.v.ReadConfig(strings.NewReader(file)))
		}
		must(t, s.refuseForeign(create.Flags(), "linux"))
		return s.refuseForeign(create.Flags(), "windows")
	}
	refused := func(t *testing.T, err error, words ...string) {
		t.Helper()
		f, ok := errors.AsType[*fault.Error](err)
		if !ok || f.Class != fault.Invalid {
			t.Fatalf("got %v", err)
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%v\nlacks %s", err, word)
			}
		}
	}
	must(t, read(t, "", "--sandbox", "auto", "--promiscuous=false"))
	must(t, read(t, "netns:\nsandbox: auto\n"))
	refused(t, read(t, "", "--netns", "blue", "--container", "web", "--sandbox", "off"), "--netns is for Linux only: no other system has network namespaces; leave it out", "--container is", "--sandbox is")
	refused(t, read(t, "sandbox: off\n"), "sandbox: off\n is for Linux only")
	t.Setenv("PCAPCTL_NETNS", "blue")
	refused(t, read(t, ""), "PCAPCTL_NETNS is for Linux only")
}

// What a command for a file is told in its environment is known, and is not suggested
// for a setting that is misspelt.
func TestUnknownVariables(t *testing.T) {
	t.Parallel()
	for variable, want := range map[string]string{
		"PCAPCTL_FILE=x":      "",
		"PCAPCTL_XYZW=1":      `the environment has "PCAPCTL_XYZW", which is not a setting`,
		"PCAPCTL_CONFIGG=x":   `the environment has "PCAPCTL_CONFIGG", which is not a setting; did you mean "PCAPCTL_CONFIG"?`,
		"PCAPCTL_MIN_FREEE=x": `the environment has "PCAPCTL_MIN_FREEE", which is not a setting; did you mean "PCAPCTL_MIN_FREE"?`,
	} {
		if got := strings.Join(unknownVariables([]string{variable}), "\n"); got != want {
			t.Errorf("%s: %q, want %q", variable, got, want)
		}
	}
}
