package request

import (
	"crypto/rand"
	"strings"

	"pcapctl/capture/fault"
)

// validName is the API's rule for the name of a packet capture.
var validName = pattern(`^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,78}[A-Za-z0-9_])?$`)

func (v *validator) name(given *string) string {
	if given == nil {
		v.session = v.host.defaultName()
		return v.session
	}
	v.session = *given
	if !validName().MatchString(*given) {
		v.fault("name", "%s is not a valid name of a packet capture; allowed: 1 to 80 letters, digits, _ . and -, a letter or digit first, a letter, digit or _ last", fault.Quote(*given))
		v.session = "name"
	}
	return v.session
}

// TimeLayout is how the service writes times, in UTC and without the zeros at
// the end of a fraction.
const TimeLayout = "2006-01-02T15:04:05.9999999Z"

// StampLayout is the layout of a time, in UTC and to the millisecond, that every
// system accepts in the name of a file.
const StampLayout = "20060102T150405.000Z"

// defaultName is unique: two sessions of one millisecond differ in the last
// eight characters, which are 40 random bits.
func (h Host) defaultName() string {
	host := h.safeName()
	host = strings.TrimRight(host[:min(len(host), 40)], ".-")
	return "pcapctl-" + host + "-" + h.Now.Format(StampLayout) + "-" + strings.ToLower(rand.Text()[:8])
}

var unsafeInName = pattern(`[^A-Za-z0-9_-]+`)

// safeName is the host's name as it may stand in a file's name and in a
// session's: letters, digits, - and _, and single dots within.
func (h Host) safeName() string {
	var labels []string
	for label := range strings.SplitSeq(h.Name, ".") {
		if label = unsafeInName().ReplaceAllString(label, "-"); label != "" {
			labels = append(labels, label)
		}
	}
	name := strings.Join(labels, ".")
	name = strings.Trim(name[:min(len(name), 63)], ".-")
	if name == "" {
		return "host"
	}
	return name
}
