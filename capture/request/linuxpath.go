package request

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"pcapctl/capture/fault"
)

// linuxRules are the rules for paths on Linux, wherever pcapctl itself runs.
type linuxRules struct{}

func (linuxRules) clean(dir string) string { return path.Clean(dir) }

func (linuxRules) foreign(given, dir string) string {
	switch {
	case drive().MatchString(given):
		return fmt.Sprintf("%s is a Windows path and this machine runs Linux: write %s", fault.Quote(given), fault.Quote(suggest(dir, given, "/")))
	case strings.Contains(given, `\`):
		return fmt.Sprintf("%s has backslashes, as Windows writes paths, and this machine runs Linux: write %s", fault.Quote(given), fault.Quote(suggest(dir, given, "/")))
	case strings.Contains(given, "://"):
		return fmt.Sprintf("%s is a URI and not a path: a blob goes into storagePath, a file is written such as %s", fault.Quote(given), fault.Quote(path.Join(dir, "x.cap")))
	}
	return ""
}

func (linuxRules) under(given, dir string, o Output) (string, string) {
	if !path.IsAbs(dir) {
		return "", fmt.Sprintf("the captures folder of this host's settings, %s, is not an absolute path; set captures-dir to one", fault.Quote(dir))
	}
	if !path.IsAbs(given) {
		switch {
		case given == "~" || strings.HasPrefix(given, "~/"):
			return "", fmt.Sprintf("%s begins with ~, which only an unquoted word of the shell stands for a home folder: write the absolute path, or %s", fault.Quote(given), fault.Quote(suggest(dir, given, "/")))
		case strings.HasPrefix("/"+given, strings.TrimSuffix(dir, "/")+"/"):
			return "", fmt.Sprintf("%s lacks its first slash: write %s", fault.Quote(given), fault.Quote("/"+given))
		}
		given = strings.TrimSuffix(dir, "/") + "/" + given
	}
	file := path.Clean(given)
	inside, ok := strings.CutPrefix(file, strings.TrimSuffix(dir, "/")+"/")
	parts := strings.Split(given, "/")
	last := parts[len(parts)-1]
	switch {
	case slices.Contains(parts, ".."):
		return "", fmt.Sprintf(`%s has ".." in it, which a path may not have: write it without, below %s`, fault.Quote(given), fault.Quote(dir))
	case file == dir || last == "" || last == ".":
		return "", fmt.Sprintf("%s is a folder: write a file's name behind it, such as %s", fault.Quote(given), fault.Quote(path.Join(file, "x.cap")))
	case !ok:
		return "", fmt.Sprintf("%s does not lie under the captures folder %s: write %s, or name another captures folder with --captures-dir %s", fault.Quote(given), fault.Quote(dir), fault.Quote(path.Join(dir, o.capName(path.Base(file)))), fault.Quote(path.Dir(file)))
	}
	name, why := o.extend(path.Base(inside))
	if why != "" {
		return "", why
	}
	file = path.Join(path.Dir(file), name)
	if why := (linuxRules{}).tooLong(strings.Split(file, "/"), file); why != "" {
		return "", why
	}
	return file, ""
}

// folderOf implements pathRules: every file lies under the captures folder, which the service prescribes, too.
func (linuxRules) folderOf(string) string { return "" }

func (linuxRules) tooLong(parts []string, file string) string {
	return longNames(parts, file, func(text string) int { return len(text) }, "bytes")
}
