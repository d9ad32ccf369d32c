package request

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf16"

	"pcapctl/capture/fault"
)

// windowsRules are the rules for paths on Windows ("Naming Files, Paths, and
// Namespaces" in its API documentation), wherever pcapctl itself runs.
type windowsRules struct{}

func (windowsRules) clean(dir string) string {
	if !windowsAbsolute(dir) {
		return dir // to be refused as it was written
	}
	return cleanWindows(dir)
}

// windowsDevice are the names that stand for devices in every folder, with any
// extension, and with spaces before it.
var windowsDevice = pattern(`(?i)^(?:con|conin\$|conout\$|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]) *(?:\.|$)`)

func (windowsRules) foreign(given, dir string) string {
	switch {
	case strings.Contains(given, "://"):
		return fmt.Sprintf("%s is a URI and not a path: a blob goes into storagePath, a file is written such as %s", fault.Quote(given), fault.Quote(suggestWindows(dir, "x")))
	case strings.HasPrefix(given, `\\`) || strings.HasPrefix(given, "//"):
		return fmt.Sprintf("%s is a path of a network share or a device: write %s", fault.Quote(given), fault.Quote(suggestWindows(dir, given)))
	case strings.HasPrefix(given, "/") || strings.HasPrefix(given, `\`):
		return fmt.Sprintf("%s has no drive, as on Linux, and this machine runs Windows: write %s", fault.Quote(given), fault.Quote(suggestWindows(dir, given)))
	}
	return ""
}

// suggestWindows is suggest without what a name on Windows may not hold.
func suggestWindows(dir, given string) string {
	for _, prefix := range []string{`\\?\`, `\\.\`} {
		given = strings.TrimPrefix(given, prefix)
	}
	begin := drive().FindString(given)
	var parts []string
	for part := range strings.FieldsFuncSeq(given[len(begin):], isWindowsSeparator) {
		part = strings.TrimRight(strings.Map(func(r rune) rune {
			if strings.ContainsRune(`<>:"|?*`, r) {
				return -1
			}
			return r
		}, part), ". ")
		if windowsDevice().MatchString(part) {
			part = "x-" + part
		}
		parts = append(parts, part)
	}
	return suggest(dir, begin+strings.Join(parts, `\`), `\`)
}

func (windowsRules) under(given, dir string, o Output) (string, string) {
	if !windowsAbsolute(dir) {
		return "", fmt.Sprintf("the captures folder of this host's settings, %s, is not an absolute path; set captures-dir to one", fault.Quote(dir))
	}
	if !windowsAbsolute(given) && !drive().MatchString(given) {
		given = strings.TrimSuffix(dir, `\`) + `\` + given
	}
	parts := strings.FieldsFunc(given, isWindowsSeparator)
	file := cleanWindows(given)
	prefix := strings.TrimSuffix(dir, `\`) + `\`
	switch {
	case !windowsAbsolute(given):
		return "", fmt.Sprintf("%s is a relative path: write the absolute one, %s", fault.Quote(given), fault.Quote(suggestWindows(dir, given)))
	case slices.Contains(parts, ".."):
		return "", fmt.Sprintf(`%s has ".." in it, which a path may not have: write it without, below %s`, fault.Quote(given), fault.Quote(dir))
	case sameName(file, dir) || isWindowsSeparator(rune(given[len(given)-1])) || parts[len(parts)-1] == ".":
		return "", fmt.Sprintf("%s is a folder: write a file's name behind it, such as %s", fault.Quote(given), fault.Quote(strings.TrimSuffix(file, `\`)+`\x.cap`))
	case len(file) < len(prefix) || !sameName(file[:len(prefix)], prefix):
		return "", fmt.Sprintf("%s does not lie under the captures folder %s: write %s, or name another captures folder with --captures-dir", fault.Quote(given), fault.Quote(dir), fault.Quote(prefix+o.capName(parts[len(parts)-1])))
	}
	// Those of the captures folder, too, behind the drive.
	for _, part := range parts[1:] {
		if why := windowsNameFault(part); why != "" {
			return "", why
		}
	}
	inside := strings.Split(file[len(prefix):], `\`)
	name, why := o.extend(inside[len(inside)-1])
	if why != "" {
		return "", why
	}
	inside[len(inside)-1] = name
	file = prefix + strings.Join(inside, `\`)
	if why := (windowsRules{}).tooLong(inside, file); why != "" {
		return "", why
	}
	return file, ""
}

// windowsNameFault says what is wrong with the name of a file or folder.
func windowsNameFault(name string) string {
	switch {
	case name == ".":
	case strings.Contains(name, ":"):
		return fmt.Sprintf("%s has a colon, behind which Windows sees a stream of a file: write it without", fault.Quote(name))
	case strings.ContainsAny(name, `<>"|?*`):
		return fmt.Sprintf(`%s holds one of < > " | ? *, which no file's name on Windows may hold: write it without`, fault.Quote(name))
	case strings.TrimRight(name, ". ") != name:
		return fmt.Sprintf("%s ends in a dot or a space, which Windows takes away: write it without", fault.Quote(name))
	case windowsDevice().MatchString(name):
		return fmt.Sprintf("%s is the name of a device on Windows, whatever stands behind a dot: choose another name, such as %s", fault.Quote(name), fault.Quote("x-"+name))
	}
	return ""
}

// folderOf implements pathRules: the service takes a file in any folder of a local drive.
func (windowsRules) folderOf(given string) string {
	if !windowsAbsolute(given) {
		return ""
	}
	file := cleanWindows(given)
	return cleanWindows(file[:strings.LastIndexByte(file, '\\')+1])
}

func (windowsRules) tooLong(parts []string, file string) string {
	return longNames(parts, file, func(text string) int { return len(utf16.Encode([]rune(text))) }, "characters")
}

func isWindowsSeparator(r rune) bool { return r == '/' || r == '\\' }

func windowsAbsolute(p string) bool {
	return len(p) >= 3 && drive().MatchString(p) && isWindowsSeparator(rune(p[2]))
}

// cleanWindows is filepath.Clean of Windows for absolute paths without "..",
// which other systems do not have.
func cleanWindows(p string) string {
	var parts []string
	for part := range strings.FieldsFuncSeq(p, isWindowsSeparator) {
		if part != "." {
			parts = append(parts, part)
		}
	}
	if len(parts) == 1 {
		return parts[0] + `\`
	}
	return strings.Join(parts, `\`)
}
