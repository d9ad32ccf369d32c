package request

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pcapctl/capture/fault"
)

// Bounds of a path. Linux has NAME_MAX 255 and PATH_MAX 4096 with the closing
// NUL (limits.h); Windows has 255 for a name, and what is longer than Linux's
// limit serves nobody there either.
const (
	maxFileName = 255
	maxPath     = 4095
)

// placeholders are what is filled in where a path has their name in braces.
var placeholders = []string{"packetCaptureName", "hostname", "startTime"}

// anyPlaceholder finds one, on either side of braces that do not pair.
var anyPlaceholder = pattern(`\{([^{}]*)\}`)

// fill replaces the placeholders of a path. Those it does not know are faults,
// because they were left from documentation; their bare names are put in, so
// that the rest of the path can be judged, too.
func (j *judge) fill(given string) (filled string, faults []string) {
	filled = anyPlaceholder().ReplaceAllStringFunc(given, func(match string) string {
		name := match[1 : len(match)-1]
		switch strings.ToLower(name) {
		case "packetcapturename":
			return j.session
		case "hostname":
			return j.host.safeName()
		case "starttime":
			return j.host.Now.Format(StampLayout)
		}
		why := fmt.Sprintf("%s is not filled in; known are {packetCaptureName}, {hostname} and {startTime}", shorten(match))
		if near := fault.Nearest(name, placeholders); near != "" {
			why = fmt.Sprintf("%s is not filled in; the nearest known is {%s}", shorten(match), near)
		}
		faults = append(faults, why)
		return unsafeInName().ReplaceAllString(name, "-")
	})
	if strings.ContainsAny(filled, "{}") {
		faults = append(faults, "a brace without its counterpart; braces stand around the name of a placeholder only")
		filled = strings.NewReplacer("{", "", "}", "").Replace(filled)
	}
	return filled, faults
}

// file makes the clean absolute path of a capture file under the captures
// folder. It judges text only; links on the way are for the one that opens the
// file. On faults the path is "".
func (j *judge) file(given string) (string, []string) {
	if why := unprintable(given); why != "" {
		return "", []string{why}
	}
	filled, faults := j.fill(given)
	rules := rulesOf(j.host)
	if why := rules.foreign(given, j.host.CapturesDir); why != "" {
		return "", append(faults, why)
	}
	file, why := rules.under(filled, j.host.CapturesDir, j.host.Output)
	if why != "" {
		faults = append(faults, why)
	}
	if len(faults) > 0 {
		return "", faults
	}
	return file, nil
}

// unprintable refuses what no file's name should hold.
func unprintable(given string) string {
	for _, r := range given {
		switch {
		case r == '\t' || r == '\n' || r == '\r' || r == '\b' || r == '\f':
			return fmt.Sprintf("%s holds the control character U+%04X; if backslashes were meant, JSON writes each of them twice", fault.Quote(given), r)
		case unicode.IsControl(r) || r == utf8.RuneError || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			return fmt.Sprintf("%s holds the character U+%04X, which no file's name may hold", fault.Quote(given), r)
		}
	}
	if strings.TrimSpace(given) != given {
		return fmt.Sprintf("%s begins or ends with white space", fault.Quote(given))
	}
	return ""
}

// pathRules are a system's rules of paths, as text.
type pathRules interface {
	// clean shortens the spelling of a path.
	clean(dir string) string
	// foreign, given a clean dir, says what is wrong with a path of another system, and how it is
	// written on this one; "" when it is none.
	foreign(given, dir string) string
	// under makes the clean path of a file under a clean dir, with the extension
	// that the output asks for, or says what is wrong.
	under(given, dir string, o Output) (file, why string)
}

func rulesOf(h Host) pathRules {
	if h.windows() {
		return windowsRules{}
	}
	return linuxRules{}
}

type linuxRules struct{}

func (linuxRules) clean(dir string) string { return path.Clean(dir) }

// drive is how a Windows path begins.
var drive = pattern(`^[A-Za-z]:`)

func (linuxRules) foreign(given, dir string) string {
	switch {
	case drive().MatchString(given):
		return fmt.Sprintf("%s is a Windows path and this machine runs Linux: write %s", fault.Quote(given), fault.Quote(suggest(dir, given, "/")))
	case strings.Contains(given, `\`):
		return fmt.Sprintf("%s has backslashes, as Windows writes paths, and this machine runs Linux: write %s", fault.Quote(given), fault.Quote(suggest(dir, given, "/")))
	case strings.Contains(given, "://"):
		return fmt.Sprintf("%s is a URI and no path: a blob goes into storagePath, a file is written such as %s", fault.Quote(given), fault.Quote(path.Join(dir, "x.cap")))
	}
	return ""
}

func (linuxRules) under(given, dir string, o Output) (string, string) {
	if !path.IsAbs(dir) {
		return "", fmt.Sprintf("the captures folder of this host's settings, %s, is no absolute path", fault.Quote(dir))
	}
	file := path.Clean(given)
	inside, ok := strings.CutPrefix(file, strings.TrimSuffix(dir, "/")+"/")
	parts := strings.Split(given, "/")
	last := parts[len(parts)-1]
	switch {
	case !path.IsAbs(given):
		return "", fmt.Sprintf("%s is a relative path: write the absolute one, %s", fault.Quote(given), fault.Quote(suggest(dir, given, "/")))
	case slices.Contains(parts, ".."):
		return "", fmt.Sprintf(`%s has ".." in it, which a path may not have`, fault.Quote(given))
	case file == dir || last == "" || last == ".":
		return "", fmt.Sprintf("%s is a folder: write a file's name behind it, such as %s", fault.Quote(given), fault.Quote(path.Join(file, "x.cap")))
	case !ok:
		return "", fmt.Sprintf("%s does not lie under the captures folder %s: write %s", fault.Quote(given), fault.Quote(dir), fault.Quote(path.Join(dir, o.capName(path.Base(file)))))
	}
	name, why := o.extend(path.Base(inside))
	if why != "" {
		return "", why
	}
	file = path.Join(path.Dir(file), name)
	if why := tooLong(strings.Split(file, "/"), file); why != "" {
		return "", why
	}
	return file, ""
}

func tooLong(parts []string, file string) string {
	for _, part := range parts {
		if len(part) > maxFileName {
			return fmt.Sprintf("the name %s has %d bytes; allowed: up to %d", fault.Quote(part), len(part), maxFileName)
		}
	}
	if len(file) > maxPath {
		return fmt.Sprintf("the path has %d bytes; allowed: up to %d", len(file), maxPath)
	}
	return ""
}

// suggest rewrites a path of whatever form as one under the captures folder,
// for a message. Folders that only say "here are captures" are not repeated.
func suggest(dir, given, separator string) string {
	given = drive().ReplaceAllString(given, "")
	var parts []string
	for part := range strings.FieldsFuncSeq(given, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part != "." && part != ".." && part != "~" {
			parts = append(parts, part)
		}
	}
	if len(parts) > 1 && strings.EqualFold(parts[0], "var") {
		parts = parts[1:]
	}
	if len(parts) > 1 && (strings.EqualFold(parts[0], "captures") || strings.EqualFold(parts[0], "capture")) {
		parts = parts[1:]
	}
	if len(parts) == 0 {
		parts = []string{"x"}
	}
	parts[len(parts)-1] = Output{}.capName(parts[len(parts)-1])
	return strings.TrimSuffix(dir, separator) + separator + strings.Join(parts, separator)
}

func lastSegment(p string) string { return p[strings.LastIndexByte(p, '.')+1:] }
