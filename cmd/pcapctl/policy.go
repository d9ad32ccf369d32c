package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"pcapctl/capture/caller"
	"pcapctl/capture/fault"
)

// systemConfig is the machine's own configuration file. Root's alone: no flag and no
// variable names another. Tests of this package set it.
var systemConfig = machineConfig()

// asRoot says that this process was started as root, whatever it has given up since; on Windows, that it is an administrator's.
var asRoot = startedAsRoot()

// policy is what the machine's configuration file forbids those who run pcapctl as
// root, as somebody whom a line of sudoers lets do that. The zero value forbids
// nothing.
type policy struct {
	// fixed are settings that have the value of the machine's file, or their default.
	fixed []string
	// onFile is policyNever, the folder that commands for files lie in, or "" for any
	// command.
	onFile string
}

// The members of the policy in the configuration file.
const (
	policyKey    = "policy"
	policyFixed  = policyKey + ".fixed"
	policyOnFile = policyKey + ".on-file"

	policyNever = "never"
)

// readSystem reads the machine's configuration file, whose policy binds root.
// Where root cannot read it, or somebody else could have written it, nobody knows
// what is forbidden, so everything is.
func (s *settings) readSystem() error {
	s.system, s.policy = viper.New(), policy{}
	if !asRoot {
		return nil
	}
	err := readConfig(s.system, systemConfig, func() (*os.File, error) { return caller.OpenTrusted(systemConfig) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, caller.ErrUntrusted):
		return fault.Errorf(fault.Forbidden, "the configuration file of this machine is not believed: %w", err)
	case err != nil:
		return s.configError(systemConfig, err)
	}
	if err := checkKeys(s.system, systemConfig, true); err != nil {
		return err
	}
	s.policy = policy{fixed: s.system.GetStringSlice(policyFixed), onFile: s.system.GetString(policyOnFile)}
	return s.policy.check()
}

// check finds what is wrong with the policy itself.
func (p *policy) check() error {
	var faults []fault.Detail
	for _, key := range p.fixed {
		at := slices.IndexFunc(settingTable, func(i *settingInfo) bool { return i.key == key })
		var message string
		switch {
		case at < 0:
			message = fmt.Sprintf("%s in %s is not a setting%s", fault.Quote(key), systemConfig, didYouMean(key, "", settingKeys()))
		case settingTable[at].ofRequest:
			message = fmt.Sprintf("%s in %s is a member of the request, which may be anything: it cannot be fixed", key, systemConfig)
		default:
			continue
		}
		faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: policyFixed, Message: message})
	}
	if p.onFile != "" && p.onFile != policyNever && (!filepath.IsAbs(p.onFile) || filepath.Clean(p.onFile) != p.onFile) {
		faults = append(faults, fault.Detail{
			Code: fault.CodeInvalidValue, Target: policyOnFile,
			Message: fmt.Sprintf("%s given in %s; allowed: %s, or the absolute path of a folder", fault.Quote(p.onFile), systemConfig, policyNever),
		})
	}
	return fault.OfRequest(faults)
}

// hold gives the settings that are fixed their values. Another value that was given
// for one, by whatever way, is refused and not passed over: whoever gave it means it.
func (s *settings) hold(flags *pflag.FlagSet) error {
	var faults []fault.Detail
	for _, key := range s.policy.fixed {
		info := settingTable[slices.IndexFunc(settingTable, func(i *settingInfo) bool { return i.key == key })]
		fixed := info.textOf(s.system)
		if fixed == "" {
			fixed = info.preset
		}
		by := s.givenBy(info, flags)
		if by != "" && by != systemConfig && info.text(s) != fixed {
			faults = append(faults, fault.Detail{
				Code: fault.CodeInvalidValue, Target: key,
				Message: fmt.Sprintf("%s gives it a value, and %s fixes it for those who run pcapctl %s: leave it out", by, systemConfig, asRootWords),
			})
			continue
		}
		s.v.Set(key, fixed)
	}
	if faults == nil {
		return nil
	}
	e := fault.OfRequest(faults)
	if f, ok := errors.AsType[*fault.Error](e); ok {
		f.Class = fault.Forbidden
	}
	return e
}

// allows tells whether a command for files may run.
func (p *policy) allows(command string) error {
	refuse := func(format string, args ...any) error {
		return &fault.Error{
			Class: fault.Forbidden, Target: setOnFile.key,
			Message: fmt.Sprintf(format, args...) + ": so says " + systemConfig + " (policy) of those who run pcapctl " + asRootWords,
		}
	}
	switch {
	case command == "" || p.onFile == "":
		return nil
	case p.onFile == policyNever:
		return refuse("no command may be run for a file")
	case !isPlainPath(command) || filepath.Clean(command) != command || filepath.Dir(command) != p.onFile:
		return refuse("a command for a file must be the path of one in %s, without arguments", p.onFile)
	}
	f, err := caller.OpenTrusted(command)
	if err != nil {
		return refuse("the command for a file is not believed (%v)", err)
	}
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || st.Mode()&0o111 == 0 {
		return refuse("%s is not a program", command)
	}
	return nil
}

// isPlainPath tells a path that a shell takes for one word and nothing else.
func isPlainPath(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._-", r)
	})
}
