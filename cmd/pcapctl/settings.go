package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/capture/source/live"
)

// Settings belong to the host and not to a request. Each can come from its
// flag, from PCAPCTL_… in the environment or from the configuration file, in
// this order. The three limits are members of the request, too: there the
// flag and the body come first.
const (
	setCapturesDir = "captures-dir"
	setStateDir    = "state-dir"
	setLogFormat   = "log-format"
	setTarget      = "target"
	setInterface   = "interface"
	setPromiscuous = "promiscuous"
	setNetns       = "netns"
	setICMPErrors  = "icmp-errors"
	setBufferSize  = "buffer-size"
	setSuffix      = "storage-suffix"
	setEndpoint    = "blob-endpoint"
	setAuthMode    = "auth-mode"
	setGrace       = "upload-grace"
	setSpoolDir    = "spool-dir"
	setSpoolSize   = "spool-size"
	setPerPacket   = "bytes-to-capture-per-packet"
	setFormat      = "format"
	setPrecision   = "timestamp-precision"
	setCompress    = "compress"
	setMinFree     = "min-free"
	setOnFile      = "on-file"
	setOnFileTime  = "on-file-timeout"
	setTotal       = "total-bytes-per-session"
	setTime        = "time-limit-in-seconds"
)

var settingNames = []string{
	setCapturesDir, setStateDir, setLogFormat, setTarget, setInterface, setPromiscuous, setICMPErrors, setNetns, setBufferSize,
	setSuffix, setEndpoint, setAuthMode, setGrace, setSpoolDir, setSpoolSize, setFormat, setPrecision, setCompress, setMinFree, setOnFile, setOnFileTime, setPerPacket, setTotal, setTime,
}

// settings reads the host's settings through viper, whose keys know no letter
// case; the request's body never passes it.
type settings struct {
	v    *viper.Viper
	file string
	used string // the configuration file that was read, "" for none
	// passedOver are configuration files that could not be read and were not
	// asked for by name.
	passedOver []string
}

func (s *settings) flags(flags *pflag.FlagSet) {
	flags.StringVar(&s.file, "config", "", "configuration file (default: pcapctl/config.yaml in the user's configuration folder, then /etc/pcapctl/config.yaml)")
	flags.String(setCapturesDir, "", "the captures folder, under which every capture file lies (default /var/captures)")
	flags.String(setStateDir, "", "the state folder, where sessions are kept (default /var/lib/pcapctl for root, pcapctl in $XDG_STATE_HOME for others)")
	flags.String(setLogFormat, "", "format of log lines on stderr: text, json (default text)")
}

// read looks up environment and configuration file. flags are those of the
// command at hand; those that are settings and were given go before both.
func (s *settings) read(flags *pflag.FlagSet) error {
	s.v = viper.New()
	s.v.SetEnvPrefix("PCAPCTL")
	s.v.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	s.v.AutomaticEnv()
	s.v.SetDefault(setPromiscuous, true)
	s.v.SetDefault(setICMPErrors, true)
	for _, name := range []string{setCapturesDir, setStateDir, setLogFormat, setInterface, setPromiscuous, setICMPErrors, setNetns, setBufferSize, setAuthMode, setGrace, setSpoolDir, setSpoolSize, setFormat, setPrecision, setCompress, setMinFree, setOnFile, setOnFileTime} {
		if f := flags.Lookup(name); f != nil {
			if err := s.v.BindPFlag(name, f); err != nil {
				return err
			}
		}
	}
	return s.readFile()
}

func (s *settings) readFile() error {
	if s.file == "" {
		s.file = os.Getenv("PCAPCTL_CONFIG")
	}
	named := s.file != ""
	candidates := []string{s.file}
	if !named {
		candidates = nil
		if dir, err := os.UserConfigDir(); err == nil {
			candidates = append(candidates, filepath.Join(dir, "pcapctl", "config.yaml"))
		}
		candidates = append(candidates, "/etc/pcapctl/config.yaml")
	}
	for _, file := range candidates {
		s.v.SetConfigFile(file)
		err := checkConfigFile(file)
		if err == nil {
			err = s.v.ReadInConfig()
		}
		switch {
		case err == nil:
			s.used = file
			return s.checkKeys(file)
		case errors.Is(err, fs.ErrNotExist) && !named:
			continue
		case errors.Is(err, fs.ErrPermission) && !named:
			// The environment may be another user's, as under `sudo -u`.
			s.passedOver = append(s.passedOver, err.Error())
			continue
		case errors.Is(err, fs.ErrNotExist):
			return fault.Errorf(fault.NotFound, "read the configuration: %w", err)
		case errors.Is(err, fs.ErrPermission):
			return fault.Errorf(fault.Forbidden, "read the configuration: %w", err)
		default:
			return fault.Errorf(fault.Invalid, "configuration file %s: %w", file, err)
		}
	}
	return nil
}

var configTypes = []string{".yaml", ".yml", ".json", ".toml"}

// checkConfigFile finds what viper has no good words for: it goes by the
// extension and looks at that before it looks for the file.
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

// checkKeys refuses keys that mean nothing: a setting that is misspelt would
// otherwise be silently without effect.
func (s *settings) checkKeys(file string) error {
	var faults []fault.Detail
	for _, key := range s.v.AllKeys() {
		if !s.v.InConfig(key) {
			continue
		}
		if slices.Contains(settingNames, key) {
			if _, list := s.v.Get(key).([]any); list && key != setInterface {
				faults = append(faults, fault.Detail{
					Code: fault.CodeInvalidValue, Target: key, Message: "configuration file " + file + " has a list there; allowed: one value",
				})
			}
		} else {
			faults = append(faults, fault.Detail{
				Code: fault.CodeBadRequest, Target: key,
				Message: "configuration file " + file + " has no such setting" + didYouMean(key, "", settingNames),
			})
		}
	}
	slices.SortFunc(faults, func(a, b fault.Detail) int { return strings.Compare(a.Target, b.Target) })
	return fault.OfRequest(faults)
}

// didYouMean is a hint at the known name that is near to a wrong one, "" when
// none is.
func didYouMean(given, prefix string, known []string) string {
	near := fault.Nearest(given, known)
	if near == "" {
		return ""
	}
	return "; did you mean " + strconv.Quote(prefix+near) + "?"
}

// host is what a request is judged against on this machine.
func (s *settings) host() request.Host {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	return request.Host{
		GOOS:          runtime.GOOS,
		Name:          name,
		CapturesDir:   s.v.GetString(setCapturesDir),
		StorageSuffix: s.v.GetString(setSuffix),
		BlobEndpoint:  s.v.GetString(setEndpoint),
		Now:           time.Now(),
		Output:        request.Output{Format: s.v.GetString(setFormat), Precision: s.v.GetString(setPrecision), Compress: s.v.GetString(setCompress)},
		Application:   buildVersion().Version,
	}
}

// stateDir is the state folder, as an absolute path.
func (s *settings) stateDir() (string, error) {
	dir := s.v.GetString(setStateDir)
	if dir == "" {
		var err error
		if dir, err = defaultStateDir(); err != nil {
			return "", &fault.Error{Class: fault.Invalid, Target: setStateDir, Message: fmt.Sprintf("no state folder is named and there is none by default: %v", err), Err: err}
		}
	}
	return filepath.Abs(dir)
}

func defaultStateDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/pcapctl", nil
	}
	if runtime.GOOS == "windows" {
		dir, err := os.UserCacheDir()
		return filepath.Join(dir, "pcapctl", "sessions"), err
	}
	// A relative path in the variable is invalid and ignored (XDG Base
	// Directory Specification).
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "pcapctl"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "pcapctl"), err
}

// target is the machine's own resource id, for requests made of flags.
func (s *settings) target() string {
	if id := s.v.GetString(setTarget); id != "" {
		return id
	}
	return vmID("", s.host().Name)
}

// source is where packets come from. Its error has all faults of its settings.
func (s *settings) source() (live.Options, error) {
	promiscuous, err1 := s.truth(setPromiscuous)
	icmpErrors, err2 := s.truth(setICMPErrors)
	interfaces, err3 := s.interfaces()
	size, err4 := s.bufferSize()
	return live.Options{
		Interfaces: interfaces, Promiscuous: promiscuous, NoICMPErrors: !icmpErrors,
		Netns: s.v.GetString(setNetns), BufferSize: size,
	}, fault.Join(err1, err2, err3, err4)
}

func wrongSetting(name, format string, args ...any) error {
	return &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: name, Message: fmt.Sprintf(format, args...)}
}

// truth is a setting that is true or false. viper's own reading takes any word
// that it does not know for false.
func (s *settings) truth(name string) (bool, error) {
	text := s.v.GetString(name)
	yes, err := strconv.ParseBool(text)
	if err != nil {
		return false, wrongSetting(name, "%q given; allowed: true, false", text)
	}
	return yes, nil
}

func (s *settings) interfaces() ([]string, error) {
	list := commaLists(s.v.GetStringSlice(setInterface))
	if slices.Contains(list, "") {
		return nil, wrongSetting(setInterface, "%q has an empty name in it; allowed: names with a comma between them", strings.Join(list, ","))
	}
	return list, nil
}

// bufferSize is the size of the kernel's ring in bytes, 0 for the default.
func (s *settings) bufferSize() (int, error) {
	text := s.v.GetString(setBufferSize)
	if text == "" {
		return 0, nil
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size < live.MinBufferSize || size > live.MaxBufferSize {
		return 0, wrongSetting(setBufferSize, "%q given; allowed: a size such as 8MiB, from %s to %s",
			text, humanize.IBytes(live.MinBufferSize), humanize.IBytes(live.MaxBufferSize))
	}
	return int(size), nil
}

// limits fills the members of the request that neither body nor flags gave.
func (s *settings) limits(p *request.Properties) error {
	var faults []fault.Detail
	for _, m := range []struct {
		name string
		to   **int64
	}{
		{setPerPacket, &p.BytesToCapturePerPacket},
		{setTotal, &p.TotalBytesPerSession},
		{setTime, &p.TimeLimitInSeconds},
	} {
		text := s.v.GetString(m.name)
		if *m.to != nil || text == "" {
			continue
		}
		n, err := number(text)
		if err != nil {
			faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: "setting " + m.name, Message: err.Error()})
			continue
		}
		*m.to = &n
	}
	return fault.OfRequest(faults)
}

// minFree is the disk reserve, nil for the default.
func (s *settings) minFree() (*int64, error) {
	text := s.v.GetString(setMinFree)
	if text == "" {
		return nil, nil
	}
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<60 || n > 0 && n < save.MinMinFree {
		return nil, wrongSetting(setMinFree, "%q given; allowed: 0 (none) or a size such as 64MiB, from %s on", text, humanize.IBytes(save.MinMinFree))
	}
	return new(int64(n)), nil
}

// onFile is the command for files that are finished.
func (s *settings) onFile() (save.OnFile, error) {
	o := save.OnFile{Command: s.v.GetString(setOnFile)}
	text := s.v.GetString(setOnFileTime)
	if text == "" {
		return o, nil
	}
	var err error
	if o.Timeout, err = time.ParseDuration(text); err != nil || o.Timeout <= 0 {
		return o, wrongSetting(setOnFileTime, "%q given; allowed: a duration such as 30s", text)
	}
	return o, nil
}
