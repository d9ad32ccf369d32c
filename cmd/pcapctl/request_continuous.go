package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

const (
	flagContinuous = "continuous-capture"
	bareContinuous = "true" // the value of the flag when it has none of its own
)

// takeContinuous gives --continuous-capture its value. As in az the value may be
// left out, so pflag does not take the next word as the value, and it comes here
// as the first argument that is not a further value of another flag.
func (r *requestFlags) takeContinuous(args []string) []string {
	if r.continuous != bareContinuous {
		return args
	}
	at := slices.IndexFunc(args, func(arg string) bool { return !strings.Contains(arg, "=") && !strings.HasPrefix(arg, "{") })
	if at >= 0 {
		r.continuous, args = args[at], slices.Delete(slices.Clone(args), at, at+1)
	}
	return args
}

func (r *requestFlags) overrideContinuous(given *pflag.FlagSet, p *request.Properties) error {
	var faults []fault.Detail
	if given.Changed(flagContinuous) {
		yes, err := trueOrFalse(r.continuous)
		if err != nil {
			faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: "--" + flagContinuous, Message: err.Error()})
		}
		// The mode depends on whether there is a value. Without one, the request
		// would get faults of the mode that was not meant.
		p.ContinuousCapture = &yes
	}
	if !given.Changed("capture-settings") {
		return fault.OfRequest(faults)
	}
	if isArgument(r.captureSettings[0]) {
		settings, err := decodeFlag(r, jsonFlag{"capture-settings", "captureSettings", "the settings", `{"fileCount": 3}`}, r.captureSettings, request.DecodeCaptureSettings)
		p.CaptureSettings = settings
		return fault.Join(fault.OfRequest(faults), err)
	}
	if p.CaptureSettings == nil {
		p.CaptureSettings = &request.CaptureSettings{}
	}
	for _, word := range splitSettings(r.captureSettings) {
		if err := setCaptureSetting(p.CaptureSettings, word); err != nil {
			faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: "--capture-settings", Message: err.Error()})
		}
	}
	return fault.OfRequest(faults)
}

// splitSettings takes apart what was written within one pair of quotes:
// "file-count=3 file-size-in-bytes=1MB".
func splitSettings(given []string) []string {
	var words []string
	for _, g := range given {
		if strings.Count(g, "=") > 1 {
			words = append(words, strings.Fields(g)...)
		} else {
			words = append(words, g)
		}
	}
	return words
}

// setCaptureSetting sets one member from name=value.
func setCaptureSetting(to *request.CaptureSettings, word string) error {
	names := []string{"file-count", "file-size-in-bytes", "session-time-limit-in-seconds"}
	key, value, ok := strings.Cut(word, "=")
	if !ok {
		return fmt.Errorf("%s is not of the form name=value", fault.Quote(word))
	}
	member := map[string]**int64{
		names[0]: &to.FileCount, names[1]: &to.FileSizeInBytes, names[2]: &to.SessionTimeLimitInSeconds,
	}[strings.ToLower(key)]
	if member == nil {
		return fmt.Errorf("unknown setting %s%s; allowed: %s", fault.Quote(key), didYouMean(key, "", names), strings.Join(names, ", "))
	}
	parse := map[string]func(string) (*int64, error){names[0]: wholeNumber, names[1]: byteCount, names[2]: secondCount}[strings.ToLower(key)]
	n, err := parse(value)
	if err != nil {
		return err
	}
	*member = n
	return nil
}
