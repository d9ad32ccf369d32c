package npcap

import (
	"fmt"
	"strconv"
	"strings"
)

type npcapVersion struct{ major, minor int }

func (v npcapVersion) before(o npcapVersion) bool {
	return v.major < o.major || v.major == o.major && v.minor < o.minor
}

// parseVersion reads "Npcap version 1.87, based on libpcap version 1.10.5". known
// is false for what is not of that form: another library, such as Wine's.
func parseVersion(text string) (v npcapVersion, known bool) {
	rest, known := strings.CutPrefix(text, "Npcap version ")
	if !known {
		return v, false
	}
	rest, _, _ = strings.Cut(rest, ",")
	major, minor, _ := strings.Cut(rest, ".")
	digits := strings.IndexFunc(minor, func(r rune) bool { return r < '0' || r > '9' })
	if digits >= 0 {
		minor = minor[:digits] // 1.9-r3
	}
	var err1, err2 error
	v.major, err1 = strconv.Atoi(major)
	v.minor, err2 = strconv.Atoi(minor)
	return v, err1 == nil && err2 == nil
}

// checkVersion refuses a library that is too old by what it says of itself. npcap is
// false for one that is not Npcap's.
func checkVersion(text string) (npcap bool, err error) {
	oldest, _ := parseVersion("Npcap version " + minVersion)
	version, npcap := parseVersion(text)
	if npcap && version.before(oldest) || strings.HasPrefix(text, "WinPcap") { // which Npcap has taken the place of
		return npcap, fmt.Errorf("%s is %w", text, errOld)
	}
	return npcap, nil
}
