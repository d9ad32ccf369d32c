package request

import (
	"fmt"
	"slices"
	"strings"

	"pcapctl/capture/fault"
)

// windowsRules are the rules for paths on Windows ("Naming Files, Paths, and
// Namespaces" in its API documentation), wherever pcapctl itself runs.
type windowsRules struct{}

func (windowsRules) clean(dir string) string { return cleanWindows(dir) }

// windowsDevice are the names that stand for devices in every folder, with any
// extension.
var windowsDevice = pattern(`(?i)^(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(?:\.|$)`)

func (windowsRules) foreign(given, dir string) string {
	switch {
	case strings.Contains(given, "://"):
		return fmt.Sprintf("%s is a URI and not a path: a blob goes into storagePath, a file is written such as %s", fault.Quote(given), fault.Quote(suggest(dir, "x", `\`)))
	case strings.HasPrefix(given, `\\`) || strings.HasPrefix(given, "//"):
		return fmt.Sprintf("%s is a path of a network share or a device: write %s", fault.Quote(given), fault.Quote(suggest(dir, given, `\`)))
	case strings.HasPrefix(given, "/") || strings.HasPrefix(given, `\`):
		return fmt.Sprintf("%s has no drive, as on Linux, and this machine runs Windows: write %s", fault.Quote(given), fault.Quote(suggest(dir, given, `\`)))
	}
	return ""
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
		return "", fmt.Sprintf("%s is a relative path: write the absolute one, %s", fault.Quote(given), fault.Quote(suggest(dir, given, `\`)))
	case slices.Contains(parts, ".."):
		return "", fmt.Sprintf(`%s has ".." in it, which a path may not have: write it without, below %s`, fault.Quote(given), fault.Quote(dir))
	case sameName(file, dir) || isWindowsSeparator(rune(given[len(given)-1])) || parts[len(parts)-1] == ".":
		return "", fmt.Sprintf("%s is a folder: write a file's name behind it, such as %s", fault.Quote(given), fault.Quote(strings.TrimSuffix(file, `\`)+`\x.cap`))
	case len(file) < len(prefix) || !sameName(file[:len(prefix)], prefix):
		return "", fmt.Sprintf("%s does not lie under the captures folder %s: write %s, or name another captures folder with --captures-dir", fault.Quote(given), fault.Quote(dir), fault.Quote(prefix+o.capName(parts[len(parts)-1])))
	}
	inside := strings.Split(file[len(prefix):], `\`)
	for _, part := range inside {
		switch {
		case strings.ContainsAny(part, `<>:"|?*`):
			return "", fmt.Sprintf(`%s holds one of < > : " | ? *, which no file's name on Windows may hold`, fault.Quote(part))
		case strings.TrimRight(part, ". ") != part:
			return "", fmt.Sprintf("%s ends in a dot or a space, which Windows takes away", fault.Quote(part))
		case windowsDevice().MatchString(part):
			return "", fmt.Sprintf("%s is the name of a device on Windows", fault.Quote(part))
		}
	}
	name, why := o.extend(inside[len(inside)-1])
	if why != "" {
		return "", why
	}
	inside[len(inside)-1] = name
	file = prefix + strings.Join(inside, `\`)
	if why := tooLong(inside, file); why != "" {
		return "", why
	}
	return file, ""
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
