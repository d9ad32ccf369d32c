package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"pcapctl/capture/fault"
)

// settings reads the host's settings with viper. The request's body is not read
// with it, because viper ignores the letter case of keys.
type settings struct {
	v    *viper.Viper
	file string
	used string // the configuration file that was read, "" for none
	// unread are the reasons why configuration files of the default places could
	// not be read.
	unread []string
}

func (s *settings) flags(root *cobra.Command) {
	root.PersistentFlags().StringVar(&s.file, "config", "", "configuration file (default: pcapctl/config.yaml in the user's configuration folder, then /etc/pcapctl/config.yaml)")
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
			if err := s.v.BindPFlag(info.key, f); err != nil {
				return fault.Errorf(fault.Internal, "%w", err)
			}
		}
	}
	return s.readFile()
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
func (s *settings) readFile() error {
	if s.file == "" {
		s.file = os.Getenv("PCAPCTL_CONFIG")
	}
	if s.file != "" {
		return configError(s.file, s.readOne(s.file))
	}
	for _, file := range defaultConfigFiles() {
		err := s.readOne(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case errors.Is(err, fs.ErrPermission):
			// The environment may be another user's, as under `sudo -u`.
			s.unread = append(s.unread, err.Error())
		default:
			return configError(file, err)
		}
	}
	return nil
}

func defaultConfigFiles() []string {
	var files []string
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "pcapctl", "config.yaml"))
	}
	return append(files, "/etc/pcapctl/config.yaml")
}

func (s *settings) readOne(file string) error {
	if err := checkConfigFile(file); err != nil {
		return err
	}
	s.v.SetConfigFile(file)
	if err := s.v.ReadInConfig(); err != nil {
		return err
	}
	s.used = file
	return s.checkKeys(file)
}

// configError classifies the error of a configuration file.
func configError(file string, err error) error {
	_, classified := errors.AsType[*fault.Error](err)
	switch {
	case err == nil || classified:
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fault.Errorf(fault.NotFound, "read the configuration: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "read the configuration: %w", err)
	default:
		return fault.Errorf(fault.Invalid, "configuration file %s: %w", file, err)
	}
}

var configTypes = []string{".yaml", ".yml", ".json", ".toml"}

// checkConfigFile finds the mistakes that viper's own messages do not explain:
// viper looks at the extension before it looks for the file.
func checkConfigFile(file string) error {
	st, err := os.Stat(file)
	switch {
	case err != nil:
		return err
	case st.IsDir():
		return errors.New("it is a folder; name a file in it that ends in " + strings.Join(configTypes, ", "))
	case !slices.Contains(configTypes, filepath.Ext(file)):
		return errors.New("its name must end in one of " + strings.Join(configTypes, ", ") + ", by which its format is known")
	}
	return nil
}

// checkKeys refuses keys that are not settings: one that is misspelt would
// otherwise be ignored silently.
func (s *settings) checkKeys(file string) error {
	var faults []fault.Detail
	for _, key := range s.v.AllKeys() {
		if !s.v.InConfig(key) {
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
		switch s.v.Get(key).(type) {
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
