package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"pcapctl/capture/caller"
	"pcapctl/capture/fault"
)

// settings reads the host's settings with viper. The request's body is not read
// with it, because viper ignores the letter case of keys.
type settings struct {
	v    *viper.Viper
	file string
	used string // the configuration file that was read, "" for none
	// unread are the reasons why configuration files of the default places could
	// not be read, or are not believed.
	unread []string
	// caller is on whose behalf root works, nil for nobody else.
	caller *caller.User
	system *viper.Viper // the machine's configuration file, for root
	policy policy
}

func (s *settings) flags(root *cobra.Command) {
	root.PersistentFlags().StringVar(&s.file, "config", "", "configuration file (default: "+configFileWords+")")
	addSettingFlags(root, everyCommand)
}

// read reads the environment and the configuration file. flags are those of the
// command that runs; those that are settings and were given go before both.
func (s *settings) read(flags *pflag.FlagSet) error {
	s.v = viper.New()
	for _, info := range settingTable {
		if info.preset != "" {
			s.v.SetDefault(info.key, info.preset)
		}
		if err := s.v.BindEnv(info.key, info.variable()); err != nil {
			return fault.Errorf(fault.Internal, "%w", err)
		}
		if f := flags.Lookup(info.key); f != nil && !info.ofRequest {
			if info.folder && f.Changed {
				fromHere(f)
			}
			if err := s.v.BindPFlag(info.key, f); err != nil {
				return fault.Errorf(fault.Internal, "%w", err)
			}
		}
	}
	var err error
	if s.caller, err = caller.Find(); err != nil {
		return fault.Errorf(fault.Forbidden, "%w: call pcapctl by sudo, or without these variables", err)
	}
	if err := s.readSystem(); err != nil {
		return err
	}
	if err := s.readFile(); err != nil {
		return err
	}
	if err := s.refuseForeign(flags, runtime.GOOS); err != nil {
		return err
	}
	return s.hold(flags)
}

// linux is the system that has every setting.
const linux = "linux"

// refuseForeign refuses settings that mean nothing on the system: whoever gives one counts on it.
func (s *settings) refuseForeign(flags *pflag.FlagSet, system string) error {
	var faults []fault.Detail
	for _, info := range settingTable {
		if info.linuxOnly == "" || system == linux || info.text(s) == info.preset {
			continue
		}
		if by := s.givenBy(info, flags); by != "" {
			faults = append(faults, fault.Detail{
				Code: fault.CodeInvalidValue, Target: info.key,
				Message: fmt.Sprintf("%s is for Linux only: %s; leave it out", by, info.linuxOnly),
			})
		}
	}
	return fault.OfRequest(faults)
}

// givenBy is what gives a setting its value: a flag, a variable or a configuration file; "" is its default.
func (s *settings) givenBy(info *settingInfo, flags *pflag.FlagSet) string {
	flag := flags.Lookup(info.key)
	switch {
	case flag != nil && flag.Changed:
		return "--" + info.key
	case os.Getenv(info.variable()) != "":
		return info.variable()
	case s.v.InConfig(info.key):
		return s.used
	}
	return ""
}

// fromHere makes the relative path of a flag an absolute one: who types it means the folder that he is
// in. A setting of the environment or a file has no such folder, and is refused. So is what looks
// absolute to a shell or to another system.
func fromHere(f *pflag.Flag) {
	path := f.Value.String()
	if path == "" || filepath.IsAbs(path) || isElsewhere(path) {
		return
	}
	if abs, err := filepath.Abs(path); err == nil { // else what uses it says that it is relative
		_ = f.Value.Set(abs) // a text takes any
	}
}

// otherVariables are PCAPCTL_ names that are not settings: the configuration file,
// and what a command for a file is told, which may run pcapctl itself.
var otherVariables = []string{
	"PCAPCTL_CONFIG",
	"PCAPCTL_FILE", "PCAPCTL_SIZE", "PCAPCTL_PACKETS", "PCAPCTL_SEQUENCE", "PCAPCTL_START_TIME",
	"PCAPCTL_COMPRESSION", "PCAPCTL_SESSION", "PCAPCTL_STOP_REASON",
}

// unknownVariables tells of PCAPCTL_ names in the environment that mean nothing: one
// that is misspelt would be ignored silently.
func unknownVariables(environ []string) []string {
	known := slices.Clone(otherVariables)
	meant := []string{"CONFIG"} // nobody means to set what a command is told
	for _, info := range settingTable {
		known = append(known, info.variable())
		meant = append(meant, strings.TrimPrefix(info.variable(), variablePrefix))
	}
	var unknown []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(name, variablePrefix) && !slices.Contains(known, name) {
			unknown = append(unknown, "the environment has "+fault.Quote(name)+", which is not a setting"+didYouMean(strings.TrimPrefix(name, variablePrefix), variablePrefix, meant))
		}
	}
	slices.Sort(unknown)
	return unknown
}

// readFile reads the configuration file: the one that was named, which must be
// there, or else the first there is in the default places.
//
// It can have commands run and say where root writes. So it is believed when nobody
// could have written it but root and whoever it is read for: the user of this
// process, and for a file that is named, the one who has called root.
func (s *settings) readFile() error {
	if s.file == "" {
		s.file = os.Getenv("PCAPCTL_CONFIG")
	}
	if s.file != "" {
		return s.configError(s.file, s.readOne(s.file, s.openNamed))
	}
	for _, file := range defaultConfigFiles() {
		err := s.readOne(file, func(file string) (*os.File, error) { return caller.OpenTrusted(file, os.Geteuid()) })
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, fs.ErrPermission), errors.Is(err, caller.ErrUntrusted):
			// The environment may be another user's, as under `sudo -u`. To refuse would let
			// whoever can make a file there keep others from capturing.
			s.unread = append(s.unread, err.Error())
		default:
			return s.configError(file, err)
		}
	}
	return nil
}

func defaultConfigFiles() []string {
	var files []string
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "pcapctl", "config.yaml"))
	}
	return append(files, systemConfig)
}

// openNamed opens a configuration file that was named, as the user who named it
// could.
func (s *settings) openNamed(file string) (f *os.File, err error) {
	if s.caller == nil {
		return caller.OpenTrusted(file, os.Geteuid())
	}
	err = s.caller.Do(func() (err error) {
		f, err = caller.OpenTrusted(file, os.Geteuid(), s.caller.UID())
		return err
	})
	return f, asCaller(s.caller, err)
}

// readOne reads the settings of a file.
func (s *settings) readOne(file string, open func(string) (*os.File, error)) error {
	if err := readConfig(s.v, file, func() (*os.File, error) { return open(file) }); err != nil {
		return err
	}
	s.used = file
	return checkKeys(s.v, file, file == systemConfig)
}

// maxConfig bounds a configuration file, in bytes.
const maxConfig = 1 << 20

// readConfig reads a configuration file of a format that its name tells.
func readConfig(v *viper.Viper, file string, open func() (*os.File, error)) error {
	f, err := open()
	if errors.Is(err, syscall.EISDIR) {
		return errors.New("it is a folder; name a file in it that ends in " + strings.Join(configTypes, ", "))
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if !slices.Contains(configTypes, filepath.Ext(file)) {
		return errors.New("its name must end in one of " + strings.Join(configTypes, ", ") + ", by which its format is known")
	}
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxConfig:
		return fmt.Errorf("it is longer than %d bytes", maxConfig)
	}
	v.SetConfigType(strings.TrimPrefix(filepath.Ext(file), "."))
	return v.ReadConfig(bytes.NewReader(text))
}

// configError classifies the error of a configuration file. What stands in the
// machine's own file is not shown to those for whom root has opened it.
func (s *settings) configError(file string, err error) error {
	_, classified := errors.AsType[*fault.Error](err)
	switch {
	case err == nil || classified:
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fault.Errorf(fault.NotFound, "read the configuration: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "read the configuration: %w", err)
	case errors.Is(err, caller.ErrUntrusted):
		return fault.Errorf(fault.Forbidden, "the configuration file is not believed: %w", err)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EIO):
		return fault.Errorf(fault.Internal, "read the configuration: %w", err)
	case s.caller != nil && file == systemConfig:
		where := "it is not valid"
		if line := anyLine.FindString(err.Error()); line != "" {
			where += ", " + line
		}
		return fault.Errorf(fault.Invalid, "configuration file %s: %s", file, where)
	default:
		return fault.Errorf(fault.Invalid, "configuration file %s: %w", file, err)
	}
}

// anyLine is where a parser says that it has found a fault.
var anyLine = regexp.MustCompile(`line [0-9]+`)

var configTypes = []string{".yaml", ".yml", ".json", ".toml"}

// checkKeys refuses keys that are not settings: one that is misspelt would
// otherwise be ignored silently.
func checkKeys(v *viper.Viper, file string, ofMachine bool) error {
	var faults []fault.Detail
	for _, key := range v.AllKeys() {
		if !v.InConfig(key) {
			continue
		}
		if key == policyKey || strings.HasPrefix(key, policyKey+".") {
			if message := policyFault(v, key, ofMachine); message != "" {
				faults = append(faults, fault.Detail{Code: fault.CodeBadRequest, Target: key, Message: "configuration file " + file + " " + message})
			}
			continue
		}
		at := slices.IndexFunc(settingTable, func(i *settingInfo) bool { return i.key == key })
		if at < 0 {
			faults = append(faults, fault.Detail{
				Code: fault.CodeBadRequest, Target: key,
				Message: "configuration file " + file + " has no such setting" + didYouMean(key, "", settingKeys()),
			})
			continue
		}
		shape := ""
		switch v.Get(key).(type) {
		case map[string]any:
			shape = "members"
		case []any:
			if settingTable[at].kind != listFlag {
				shape = "a list"
			}
		}
		if shape != "" {
			faults = append(faults, fault.Detail{
				Code: fault.CodeInvalidValue, Target: key, Message: "configuration file " + file + " has " + shape + " there; allowed: one value",
			})
		}
	}
	slices.SortFunc(faults, func(a, b fault.Detail) int { return strings.Compare(a.Target, b.Target) })
	return fault.OfRequest(faults)
}

// policyFault says what is wrong with a member of the policy, "" for nothing.
func policyFault(v *viper.Viper, key string, ofMachine bool) string {
	_, isList := v.Get(key).([]any)
	_, isText := v.Get(key).(string)
	switch {
	case !ofMachine:
		return "has a policy: only that of the machine, " + systemConfig + ", may"
	case key != policyFixed && key != policyOnFile:
		return "has no such member of the policy; allowed: fixed, on-file"
	case key == policyFixed && !isList:
		return "has no list there; allowed: a list of settings, such as [captures-dir, state-dir]"
	case key == policyOnFile && !isText:
		return "has no text there; allowed: never, or the path of a folder"
	}
	return ""
}
