package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

// defaultDestination gives a request of flags that names no destination a file in
// the captures folder. A body has to name one, as with the service.
func defaultDestination(p *request.Properties, host request.Host) {
	if l := p.StorageLocation; l != nil && *l != (request.StorageLocation{}) {
		return
	}
	file := new("{packetCaptureName}" + request.Extension(host.Output))
	p.StorageLocation = &request.StorageLocation{FilePath: file}
	if p.ContinuousCapture != nil {
		p.StorageLocation = &request.StorageLocation{LocalPath: file}
	}
}

// typedNames are the names by which a user gave the members of a request: the
// flag instead of the member, where it was a flag.
type typedNames struct {
	// targets are the flags and settings by JSON path.
	targets map[string]string
	// onlyFlags says that there is no body, so that a message that tells to use
	// another member means its flag.
	onlyFlags bool
	// ofEnds and ofList are how many of the first filters --host and --port made,
	// and how many --filters made behind those.
	ofEnds, ofList int
	ends           string // those of --host and --port in words, "" for none
}

// memberFlags are the flags of the request's members, by JSON path.
var memberFlags = map[string]string{
	"name":                                                 "--name",
	"properties.target":                                    "--target",
	"properties.targetType":                                "--target-type",
	"properties.bytesToCapturePerPacket":                   "--" + setPerPacket.key,
	"properties.totalBytesPerSession":                      "--" + setTotal.key,
	"properties.timeLimitInSeconds":                        "--" + setTime.key,
	"properties.storageLocation.storageId":                 "--storage-account",
	"properties.storageLocation.storagePath":               "--storage-path",
	"properties.storageLocation.filePath":                  "--file-path",
	"properties.storageLocation.localPath":                 "--local-path",
	"properties.continuousCapture":                         "--" + flagContinuous,
	"properties.captureSettings":                           "--capture-settings",
	"properties.captureSettings.fileCount":                 "--capture-settings file-count",
	"properties.captureSettings.fileSizeInBytes":           "--capture-settings file-size-in-bytes",
	"properties.captureSettings.sessionTimeLimitInSeconds": "--capture-settings session-time-limit-in-seconds",
}

// typedNames tells how the members were given. It is called when the flags are in
// the request, and the settings are not.
func (r *requestFlags) typedNames(given *pflag.FlagSet, s *settings, p *request.Properties) typedNames {
	t := typedNames{targets: map[string]string{}, onlyFlags: r.file == ""}
	for member, flag := range memberFlags {
		name, _, _ := strings.Cut(strings.TrimPrefix(flag, "--"), " ")
		if given.Changed(name) {
			t.targets[member] = aliasOf(given, flag)
		}
	}
	if given.Changed("vm") {
		t.targets["properties.target"] = "--vm"
	}
	for _, limit := range limitsOf(p) {
		if _, ok := limit.setting.given(s); ok && *limit.member == nil {
			t.targets[limit.path] = limit.setting.key
		}
	}
	if given.Changed("filters") || given.Changed("filter") || r.ends.filters() != nil {
		t.ofEnds, t.ends = len(r.ends.filters()), r.ends.words()
		t.ofList = max(0, len(p.Filters)-t.ofEnds-len(r.filter))
		t.targets["properties.filters"] = "--filter"
	}
	return t
}

// aliasOf is the flag by the name that was written, where it has two.
func aliasOf(given *pflag.FlagSet, flag string) string {
	if alias := aliasFor(strings.TrimPrefix(flag, "--")); alias != "" && given.Changed(alias) {
		return "--" + alias
	}
	return flag
}

// shownFlag is the flag by the name that the help shows, where it has two.
func shownFlag(flag string) string {
	if alias := aliasFor(strings.TrimPrefix(flag, "--")); alias != "" && flag != "--name" { // which has a shorthand
		return "--" + alias
	}
	return flag
}

var filterTarget = regexp.MustCompile(`^properties\.filters\[(\d+)\]\.?(.*)$`)

// target is a JSON path by the name that was typed.
func (t *typedNames) target(path string) string {
	if flag, ok := t.targets[path]; ok && path != "properties.filters" {
		return flag
	}
	if flag, ok := memberFlags[path]; ok && t.onlyFlags {
		return shownFlag(flag)
	}
	if path == "properties.storageLocation" && t.onlyFlags {
		return "--file-path"
	}
	m := filterTarget.FindStringSubmatch(path)
	if m == nil || t.targets["properties.filters"] == "" {
		return path
	}
	var i int
	_, _ = fmt.Sscan(m[1], &i)
	switch {
	case i < t.ofEnds && strings.HasSuffix(m[2], "Port"):
		return "--" + flagPort
	case i < t.ofEnds:
		return "--" + flagHost
	case i < t.ofEnds+t.ofList:
		return strings.TrimSuffix(fmt.Sprintf("--filters, [%d].%s", i-t.ofEnds, m[2]), ".")
	}
	return strings.TrimSuffix(fmt.Sprintf("--filter #%d, %s", i-t.ofEnds-t.ofList+1, m[2]), ", ")
}

// inMessage finds the members of a request in a message, and what is quoted, which
// stays as it is: it is a user's own.
var inMessage = regexp.MustCompile(`"continuousCapture": true or false|"[^"]*"|(?:properties\.|storageLocation\.|captureSettings\.)*\b(?:filePath|localPath|storagePath|storageId|continuousCapture|totalBytesPerSession|timeLimitInSeconds|bytesToCapturePerPacket|captureSettings|fileCount|fileSizeInBytes|sessionTimeLimitInSeconds)\b`)

// message puts flags in the place of members, where there is no body.
func (t *typedNames) message(text string) string {
	if !t.onlyFlags {
		return text
	}
	return inMessage.ReplaceAllStringFunc(text, func(found string) string {
		if strings.HasPrefix(found, `"continuousCapture"`) {
			return "--" + flagContinuous + " true or false"
		}
		if found[0] == '"' {
			return found
		}
		last := found[strings.LastIndexByte(found, '.')+1:]
		for member, flag := range memberFlags {
			if strings.HasSuffix(member, "."+last) {
				if typed := t.targets[member]; strings.HasPrefix(typed, "--") {
					return typed
				}
				return shownFlag(flag)
			}
		}
		return found
	})
}

// asTyped is an error of a request in the words that its user typed. Two filters
// that one flag made have the same faults: each is told once.
func (t *typedNames) asTyped(err error) error {
	known, ok := errors.AsType[*fault.Error](err)
	if !ok || t.targets == nil {
		return err
	}
	e := *known
	e.Target, e.Message, e.Err = t.target(e.Target), t.message(e.Message), err
	if len(e.Details) == 0 {
		return &e
	}
	var faults []fault.Detail
	for _, f := range e.Details {
		f.Target, f.Message = t.target(f.Target), t.message(f.Message)
		if !slices.Contains(faults, f) {
			faults = append(faults, f)
		}
	}
	if len(faults) == len(e.Details) || len(e.Details) >= fault.MaxFaults {
		e.Details = faults
		return &e
	}
	return fault.OfRequest(faults)
}
