package filter

import (
	"fmt"
	"slices"
	"strings"
)

// flagNames are the flags of TCP by their bits in the header's 14th byte, the lowest first (RFC 9293, section 3.1).
var flagNames = [...]string{"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"}

// flagSet is what a filter says of the flags: those of any mask must all be set. It is sorted, and no mask in it asks
// for all that another does, so that equal sets have equal slices. nil is not named.
type flagSet []uint8

func newFlagSet(masks ...uint8) flagSet {
	masks = slices.Clone(masks)
	slices.Sort(masks)
	masks = slices.Compact(masks)
	var out flagSet
	for _, m := range masks {
		if !slices.ContainsFunc(masks, func(o uint8) bool { return o != m && m&o == o }) {
			out = append(out, m)
		}
	}
	return out
}

// contains reports whether flags fit. It allocates nothing.
func (s flagSet) contains(flags uint8) bool {
	for _, m := range s {
		if flags&m == m {
			return true
		}
	}
	return false
}

// covers reports whether all flags that fit o fit s.
func (s flagSet) covers(o flagSet) bool {
	return !slices.ContainsFunc(o, func(m uint8) bool { return !s.contains(m) })
}

// bits are all flags that the set looks at.
func (s flagSet) bits() (all uint8) {
	for _, m := range s {
		all |= m
	}
	return all
}

// entries is the notation of the set, entry by entry.
func (s flagSet) entries() []string {
	out := make([]string, len(s))
	for i, m := range s {
		out[i] = joinedFlags(m, "+", func(name string) string { return name })
	}
	return out
}

// joinedFlags names the flags of a mask.
func joinedFlags(mask uint8, between string, name func(string) string) string {
	var names []string
	for bit, flag := range flagNames {
		if mask>>bit&1 != 0 {
			names = append(names, name(flag))
		}
	}
	return strings.Join(names, between)
}

func (s flagSet) member() *string {
	if s == nil {
		return nil
	}
	text := strings.Join(s.entries(), ";")
	return &text
}

const flagsAllowed = `fin, syn, rst, psh, ack, urg, ece, cwr; joined by + where all must be set, as "syn+ack", or a list "syn;rst"`

// parseFlags reads the member tcpFlags.
func parseFlags(faults *[]Fault, given *string) flagSet {
	if given == nil || strings.TrimSpace(*given) == "" {
		return nil
	}
	fault := func(format string, args ...any) {
		*faults = append(*faults, Fault{"tcpFlags", fmt.Sprintf(format, args...) + "; allowed: " + flagsAllowed})
	}
	list := strings.Split(*given, ";")
	if last := len(list) - 1; last > 0 && strings.TrimSpace(list[last]) == "" {
		list = list[:last]
	}
	var masks []uint8
	for i, entry := range list {
		if strings.TrimSpace(entry) == "" {
			fault("entry %d of the list is empty", i+1)
			continue
		}
		var mask uint8
		for name := range strings.SplitSeq(entry, "+") {
			name = strings.TrimSpace(name)
			switch bit := slices.Index(flagNames[:], strings.ToLower(name)); {
			case bit >= 0:
				mask |= 1 << bit
			case name == "":
				fault("%s has a + without a flag beside it", quote(strings.TrimSpace(entry)))
			default:
				fault("%s is not a flag of TCP%s", quote(name), flagHint(strings.ToLower(name)))
			}
		}
		masks = append(masks, mask)
	}
	return newFlagSet(masks...)
}

// flagHint is what to add for a flag of another notation.
func flagHint(text string) string {
	text = strings.TrimPrefix(text, "tcp-")
	for _, name := range flagNames {
		switch {
		case text == "push" && name == "psh", text == name, text != "" && text == name[:1] && text != "c" && text != "e":
			return fmt.Sprintf("; did you mean %q?", name)
		}
	}
	switch {
	case strings.ContainsAny(text, ",|&"):
		return "; flags are joined by +, and the entries of a list stand between ;"
	case strings.ContainsAny(text, "!~") || strings.HasPrefix(text, "not"):
		return "; a flag that must not be set is said by --exclude"
	}
	return ""
}
