package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/source/capfile"
)

const flagStorageLocation = "storage-location"

// jsonFlag is a flag whose value is a member of the request as JSON.
type jsonFlag struct {
	name    string // of the flag
	member  string // of the request
	what    string // what messages call its value
	example string
}

// isArgument tells a value that is JSON, or names a file with it, from words of
// the form name=value.
func isArgument(value string) bool {
	return strings.HasPrefix(value, "@") || strings.HasPrefix(strings.TrimSpace(value), "{") || strings.HasPrefix(strings.TrimSpace(value), "[")
}

// decodeFlag reads the value of a flag: JSON, a form of az's, or a file that @
// names. The errors of decode, which speak of the request, name the flag.
func decodeFlag[T any](r *requestFlags, f jsonFlag, values []string, decode func([]byte) (T, error)) (T, error) {
	var none T
	invalid := func(message string) error {
		return fault.OfRequest([]fault.Detail{{Code: fault.CodeInvalidValue, Target: "--" + f.name, Message: message}})
	}
	if len(values) > 1 {
		return none, invalid("it is given more than once: keep one of them")
	}
	text := []byte(values[0])
	if name, ok := strings.CutPrefix(values[0], "@"); ok {
		if name == "-" {
			if r.stdinFor != "" {
				return none, invalid("standard input is read for " + r.stdinFor + " already: name a file for one of them")
			}
			r.stdinFor = "--" + f.name
		}
		var err error
		if text, err = readInput("--"+f.name, name, r.stdin, r.caller); err != nil {
			return none, err
		}
	}
	if isBlank(string(text)) {
		return none, invalid("it is empty; allowed: JSON such as " + f.example + ", or @ and the name of a file that holds it")
	}
	value, err := decode(text)
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return value, err
	}
	faults := slices.Clone(e.Details)
	for i, d := range faults {
		if !strings.HasPrefix(d.Target, f.member) {
			faults[i].Target = strings.TrimSuffix("--"+f.name+", "+d.Target, ", ")
			faults[i].Message = strings.ReplaceAll(d.Message, "the request", f.what)
		}
	}
	return value, fault.OfRequest(faults)
}

// useStdin says where standard input is, which one flag may read.
func (r *requestFlags) useStdin(stdin io.Reader) {
	r.stdin, r.stdinFor = stdin, ""
	switch {
	case r.file == "-":
		r.stdinFor = "--file"
	case r.read.path == capfile.StandardInput:
		r.stdinFor = "--" + flagReadFile
	}
}

// takeWords gives flags the words that az takes as further values of theirs, and
// returns those that belong to none.
func (r *requestFlags) takeWords(args []string) (rest []string) {
	inWords := func(values []string) bool { return len(values) > 0 && !isArgument(values[0]) }
	for _, arg := range args {
		key, _, isPair := strings.Cut(arg, "=")
		switch {
		case isPair && inWords(r.storageLocation) && (locationMember(&request.StorageLocation{}, key) != nil || !inWords(r.captureSettings)):
			r.storageLocation = append(r.storageLocation, arg)
		case inWords(r.captureSettings):
			r.captureSettings = append(r.captureSettings, arg)
		case !isPair && len(r.include) > 0:
			r.include = append(r.include, arg)
		case !isPair && len(r.additions.exclude) > 0 && instance.MatchString(r.additions.exclude[0]):
			r.additions.exclude = append(r.additions.exclude, arg)
		default:
			rest = append(rest, arg)
		}
	}
	return rest
}

// locationMember is the member of a storage location that az gives this name,
// nil when there is none.
func locationMember(l *request.StorageLocation, name string) **string {
	return map[string]**string{
		"storageid": &l.StorageID, "storagepath": &l.StoragePath, "filepath": &l.FilePath, "localpath": &l.LocalPath,
	}[strings.ToLower(strings.ReplaceAll(name, "-", ""))]
}

// overrideLocation replaces the storage location by that of --storage-location.
func (r *requestFlags) overrideLocation(given *pflag.FlagSet, p *request.Properties) error {
	if !given.Changed(flagStorageLocation) {
		return nil
	}
	if isArgument(r.storageLocation[0]) {
		var err error
		p.StorageLocation, err = decodeFlag(r, jsonFlag{flagStorageLocation, "storageLocation", "the location", `{"filePath": "/var/captures/x.cap"}`},
			r.storageLocation, request.DecodeStorageLocation)
		return err
	}
	var faults []fault.Detail
	p.StorageLocation = &request.StorageLocation{}
	for _, word := range r.storageLocation {
		key, value, ok := strings.Cut(word, "=")
		to := locationMember(p.StorageLocation, key)
		names := []string{"storage-id", "storage-path", "file-path", "local-path"}
		var message string
		switch {
		case !ok:
			message = fmt.Sprintf("%s is not of the form name=value", fault.Quote(word))
		case to == nil:
			message = fmt.Sprintf("unknown member %s%s; allowed: %s", fault.Quote(key), didYouMean(key, "", names), strings.Join(names, ", "))
		case *to != nil:
			message = fmt.Sprintf("%s is given twice", fault.Quote(key))
		default:
			*to = &value
			continue
		}
		faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: "--" + flagStorageLocation, Message: message})
	}
	return fault.OfRequest(faults)
}

// overrideScope puts the flags of scale sets into the request, where they are
// checked.
func (r *requestFlags) overrideScope(given *pflag.FlagSet, p *request.Properties) error {
	var err error
	if given.Changed("scope") {
		p.Scope, err = decodeFlag(r, jsonFlag{"scope", "scope", "the scope", `{"include": []}`}, []string{r.scope}, request.DecodeScope)
	}
	exclude := r.additions.takeInstances()
	if p.Scope == nil && (len(r.include) > 0 || len(exclude) > 0) {
		p.Scope = &request.Scope{}
	}
	if len(r.include) > 0 {
		p.Scope.Include = r.include
	}
	if len(exclude) > 0 {
		p.Scope.Exclude = exclude
	}
	return err
}
