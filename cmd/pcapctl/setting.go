package main

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"pcapctl/capture/fault"
)

// commandSet says which commands have a flag for a setting.
type commandSet uint8

const (
	noCommand       commandSet = 0         // environment and configuration file only
	captureCommands commandSet = 1 << iota // create and validate
	interfacesCommand
	uploadCommand
	everyCommand
)

// flagKind says how the flag of a setting is parsed.
type flagKind uint8

const (
	textFlag flagKind = iota
	boolFlag          // may be given without a value, which means true
	listFlag          // may be repeated; in a configuration file it may be a list
)

// settingInfo is what the program knows of a setting, apart from the type of
// its value.
type settingInfo struct {
	key string
	// preset is the default. It is empty where the default depends on the machine
	// or on the request.
	preset string

	on        commandSet
	kind      flagKind
	shorthand string
	usage     string
	// ofRequest marks a setting whose flag is a member of the request. Its flag
	// goes before the body, and the body before the environment and the file.
	ofRequest bool
	// folder marks a path; that of a flag may be relative.
	folder bool
	// linuxOnly says why other systems refuse the setting, and do not show its flag; "" is for all of them.
	linuxOnly string
	// choices are the values that the shell completes; complete does it for
	// values that depend on the machine.
	choices  []string
	complete cobra.CompletionFunc
}

// setting is a setting whose values have the type T.
type setting[T any] struct {
	settingInfo
	parse func(text string) (T, error)
}

// settingTable has every setting of the program, in the order of their
// definitions.
var settingTable []*settingInfo

// define adds a setting to the table. parse makes a value of what was given; it
// is not called for a setting that was not given.
func define[T any](info settingInfo, parse func(text string) (T, error)) *setting[T] {
	s := &setting[T]{info, parse}
	settingTable = append(settingTable, &s.settingInfo)
	return s
}

// value is the setting's value on this host: the zero value when it was not
// given and has no preset.
func (d *setting[T]) value(s *settings) (T, error) {
	var zero T
	text, given := d.given(s)
	if !given {
		return zero, nil
	}
	v, err := d.parse(text)
	if err != nil {
		return zero, wrongSetting(d.key, "%w", err)
	}
	return v, nil
}

// text is the setting as it was given, for code that checks it elsewhere.
func (i *settingInfo) text(s *settings) string {
	text, _ := i.given(s)
	return text
}

// given tells whether the setting has a value, from wherever. A setting with a
// preset always has one: an empty text is then a wrong value.
func (i *settingInfo) given(s *settings) (text string, ok bool) {
	text = i.textOf(s.v)
	return text, text != "" || i.preset != "" && i.kind != listFlag
}

// textOf is the setting as it stands in v. A list has commas in it.
func (i *settingInfo) textOf(v *viper.Viper) string {
	if i.kind == listFlag {
		return strings.Join(v.GetStringSlice(i.key), ",")
	}
	return v.GetString(i.key)
}

// variablePrefix is how the names of settings in the environment begin.
const variablePrefix = "PCAPCTL_"

// variable is the name of the setting in the environment.
func (i *settingInfo) variable() string {
	return variablePrefix + strings.ToUpper(strings.ReplaceAll(i.key, "-", "_"))
}

// settingKeys are the keys that a configuration file may have.
func settingKeys() []string {
	keys := make([]string, len(settingTable))
	for i, info := range settingTable {
		keys[i] = info.key
	}
	return keys
}

// addSettingFlags gives a command the flags of the settings that it has.
func addSettingFlags(cmd *cobra.Command, on commandSet) {
	flags := cmd.Flags()
	if on == everyCommand {
		flags = cmd.PersistentFlags()
	}
	for _, info := range settingTable {
		if info.on&on != 0 {
			info.addFlag(cmd, flags)
		}
	}
}

func (i *settingInfo) addFlag(cmd *cobra.Command, flags *pflag.FlagSet) {
	switch i.kind {
	case textFlag:
		flags.StringP(i.key, i.shorthand, i.preset, i.usage)
	case boolFlag:
		flags.BoolP(i.key, i.shorthand, i.preset == "true", i.usage)
	case listFlag:
		flags.StringArrayP(i.key, i.shorthand, nil, i.usage)
	}
	if i.linuxOnly != "" && runtime.GOOS != linux {
		_ = flags.MarkHidden(i.key) // it fails for a flag that does not exist only
	}
	complete := i.complete
	if i.choices != nil {
		complete = cobra.FixedCompletions(i.choices, cobra.ShellCompDirectiveNoFileComp)
	}
	if complete != nil {
		_ = cmd.RegisterFlagCompletionFunc(i.key, complete) // it fails for a flag that does not exist only
	}
}

// wrongSetting is the error of a setting whose value is not allowed.
func wrongSetting(key, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: key, Message: err.Error(), Err: errors.Unwrap(err)}
}

// notAllowed says what a setting may be instead of what was given.
func notAllowed(given, format string, args ...any) error {
	return fmt.Errorf("%s given; allowed: "+format, append([]any{fault.Quote(given)}, args...)...)
}

// anyText takes every text; the code that uses it checks it.
func anyText(text string) (string, error) { return text, nil }

// oneOf takes the words that are listed.
func oneOf(choices []string) func(string) (string, error) {
	return func(text string) (string, error) {
		if !slices.Contains(choices, text) {
			return "", notAllowed(text, "%s", strings.Join(choices, ", "))
		}
		return text, nil
	}
}

// trueOrFalse parses a boolean. viper's own conversion takes any word that
// it does not know for false.
func trueOrFalse(text string) (bool, error) {
	yes, err := strconv.ParseBool(text)
	if err == nil {
		return yes, nil
	}
	switch strings.ToLower(text) {
	case "yes", "y", "on":
		return false, notAllowed(text, "true, false; write true")
	case "no", "n", "off":
		return false, notAllowed(text, "true, false; write false")
	}
	return false, notAllowed(text, "true, false")
}

// byteSize parses a size in bytes within bounds, such as 8MiB or 1048576.
func byteSize(least, most int64, allowed string) func(string) (int64, error) {
	return func(text string) (int64, error) {
		n, err := humanize.ParseBytes(text)
		if err != nil || n > math.MaxInt64 || int64(n) < least || int64(n) > most {
			return 0, notAllowed(text, "%s", allowed)
		}
		return int64(n), nil
	}
}

// period parses a duration that is longer than 0.
func period(example string) func(string) (time.Duration, error) {
	return func(text string) (time.Duration, error) {
		d, err := durationOf(text)
		if err != nil || d <= 0 {
			return 0, notAllowed(text, "a duration such as %s", example)
		}
		return d, nil
	}
}

// commaList parses names with a comma between them.
func commaList(text string) ([]string, error) {
	list := splitCommas([]string{text})
	if slices.Contains(list, "") {
		return nil, fmt.Errorf("%s has an empty name in it; allowed: names with a comma between them", fault.Quote(text))
	}
	return list, nil
}
