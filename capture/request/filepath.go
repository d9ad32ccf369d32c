package request

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pcapctl/capture/fault"
)

// Bounds of a path. Linux has NAME_MAX 255 and PATH_MAX 4096 with the closing
// NUL (limits.h), in bytes; Windows has 255 units of UTF-16 for a name, and what is longer than Linux's
// limit is of no use there either.
const (
	maxFileName = 255
	maxPath     = 4095
)

// file makes the clean absolute path of a capture file under the captures folder, which it gives, too. It looks at the text
// only; symbolic links are the business of whoever opens the file. On faults the path is "".
func (v *validator) file(given string) (folder, path string, faults []string) {
	if why := unprintable(given); why != "" {
		return "", "", []string{why}
	}
	filled, faults := v.fill(given)
	rules, folder := rulesOf(v.host), v.host.CapturesDir
	if why := rules.foreign(given, folder); why != "" {
		return "", "", append(faults, why)
	}
	if own := rules.folderOf(filled); v.host.anyFolder && own != "" {
		if _, why := rules.under(filled, folder, v.host.Output); why != "" {
			folder = own
		}
	}
	path, why := rules.under(filled, folder, v.host.Output)
	if why == "" && len(faults) == 0 {
		why = unnameable(path) // of the captures folder, or of the host's name
	}
	if why != "" {
		faults = append(faults, why)
	}
	if len(faults) > 0 {
		return "", "", faults
	}
	return folder, path, nil
}

// unprintable refuses what no file's name should hold, and white space at its ends.
func unprintable(given string) string {
	if why := unnameable(given); why != "" {
		return why
	}
	if strings.TrimSpace(given) != given {
		return fmt.Sprintf("%s begins or ends with white space", fault.Quote(given))
	}
	return ""
}

// unnameable refuses characters that no file's name should hold.
func unnameable(given string) string {
	for _, r := range given {
		switch {
		case r == '\t' || r == '\n' || r == '\r' || r == '\b' || r == '\f':
			return fmt.Sprintf("%s holds the control character U+%04X; if backslashes were meant, JSON writes each of them twice", fault.Quote(given), r)
		case unicode.IsControl(r) || r == utf8.RuneError || isNoncharacter(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp):
			return fmt.Sprintf("%s holds the character U+%04X, which no file's name may hold", fault.Quote(given), r)
		}
	}
	return ""
}

// isNoncharacter tells of the code points that no text may hold, by the Unicode
// Standard, 23.7: the last two of every plane, and 32 in between. YAML and XML
// cannot carry them. Those that are only unassigned yet may be.
func isNoncharacter(r rune) bool { return r&0xfffe == 0xfffe || r >= 0xfdd0 && r <= 0xfdef }

// pathRules are a system's rules of paths, as text.
type pathRules interface {
	// clean shortens the spelling of a path.
	clean(dir string) string
	// foreign, given a clean dir, says what is wrong with a path of another
	// system, and how it is written on this one; "" for a path of this system.
	foreign(given, dir string) string
	// under makes the clean path of a file under a clean dir, with the extension
	// that the output asks for, or says what is wrong.
	under(given, dir string, o Output) (file, why string)
	// folderOf is the clean folder of a path that needs no other to be known; "" for none.
	folderOf(given string) string
	// tooLong says what is too long of a path and its components.
	tooLong(parts []string, file string) string
}

// drive is how a Windows path begins.
var drive = pattern(`^[A-Za-z]:`)

func rulesOf(h Host) pathRules {
	if h.windows() {
		return windowsRules{}
	}
	return linuxRules{}
}

// longNames says what of a path is too long, as size counts it.
func longNames(parts []string, file string, size func(string) int, unit string) string {
	for _, part := range parts {
		if n := size(part); n > maxFileName {
			return fmt.Sprintf("the name %s has %d %s; allowed: up to %d", fault.Quote(part), n, unit, maxFileName)
		}
	}
	if n := size(file); n > maxPath {
		return fmt.Sprintf("the path has %d %s; allowed: up to %d", n, unit, maxPath)
	}
	return ""
}

// lastName is the last component of a clean path of whatever system: a path of Linux has no backslash here.
func lastName(path string) string { return path[strings.LastIndexAny(path, `/\`)+1:] }

// suggest rewrites a path of whatever form as one under the captures folder,
// for a message. What it has of the captures folder already is not repeated, nor
// are folders that only say "here are captures".
func suggest(dir, given, separator string) string {
	given = drive().ReplaceAllString(given, "")
	var parts []string
	for part := range strings.FieldsFuncSeq(given, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part != "." && part != ".." && part != "~" {
			parts = append(parts, part)
		}
	}
	parts = withoutFolder(dir, parts)
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

// withoutFolder takes from the front of a path what a folder ends in, as much as
// there is: all of it, or from one of its parents on. Letter case does not count.
func withoutFolder(dir string, parts []string) []string {
	isSeparator := func(r rune) bool { return r == '/' || r == '\\' }
	folder := strings.FieldsFunc(drive().ReplaceAllString(dir, ""), isSeparator)
	for len(folder) > 0 {
		if n := len(folder); n < len(parts) && slices.EqualFunc(folder, parts[:n], strings.EqualFold) {
			return parts[n:]
		}
		folder = folder[1:]
	}
	return parts
}
