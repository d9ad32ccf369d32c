package request

import (
	"fmt"
	"slices"
	"strings"

	"pcapctl/capture/fault"
)

// wrongType says what was given and what is allowed.
func (d *decoder) wrongType(v node, path, allowed string) {
	if path == "" {
		d.fault(path, "the request is %s; allowed: %s", v, allowed)
		return
	}
	d.fault(path, "%s is given; allowed: %s", v, allowed)
}

// object visits the known members of an object that are not null, and adds a
// fault for everything else in it. It reports whether there was an object.
func (d *decoder) object(v node, path, level string, visit func(name, path string, v node)) bool {
	if v.kind == kindNull && path != "" {
		return false
	}
	if v.kind != kindObject {
		d.wrongType(v, path, "an object, with the members "+strings.Join(memberNames[level], ", "))
		return false
	}
	known := slices.Concat(memberNames[level], outputOnly[level])
	seen := map[string]string{}
	for _, m := range v.members {
		at := joinPath(path, m.name)
		name := d.plainName(m.name)
		folded := strings.ToLower(name)
		if first, twice := seen[folded]; twice {
			d.duplicate(at, first, m.name)
			continue
		}
		seen[folded] = m.name
		i := slices.IndexFunc(known, func(k string) bool { return sameName(k, name) })
		switch {
		case i < 0 && d.passesOver(name, level):
			d.ignored = append(d.ignored, at)
		case i < 0:
			d.unknown(at, m.name, level)
		case i < len(memberNames[level]) && m.value.kind != kindNull:
			visit(known[i], joinPath(path, known[i]), m.value)
		case i >= 0 && known[i] == statisticsMember:
			d.noteAdditions(at, m.value)
		}
	}
	return true
}

func (d *decoder) duplicate(path, first, second string) {
	if first == second {
		d.fault(path, "the member %s is given twice: keep one of them", fault.Quote(second))
		return
	}
	d.fault(path, "the member %s is given already as %s, and letter case does not count: keep one of them", fault.Quote(second), fault.Quote(first))
}

func (d *decoder) unknown(path, name, level string) {
	const opening = "there is no member %s here"
	// A known name in the wrong place comes before a guess.
	if other, ok := d.levelOf(name, level); ok {
		d.fault(path, opening+"; it belongs %s", fault.Quote(name), belongs[other])
		return
	}
	if near := fault.Nearest(name, memberNames[level]); near != "" {
		d.fault(path, opening+"; the nearest known is %q", fault.Quote(name), near)
		return
	}
	d.fault(path, opening+"; known are %s", fault.Quote(name), strings.Join(memberNames[level], ", "))
}

// levelOf finds another level that has a member of this name.
func (d *decoder) levelOf(name, level string) (other string, ok bool) {
	for _, other := range []string{"", "properties", "storageLocation", "filters", "captureSettings", "scope"} {
		if other != level && slices.ContainsFunc(memberNames[other], func(k string) bool { return sameName(k, d.plainName(name)) }) {
			return other, true
		}
	}
	return "", false
}

// plainName is a member's name without the hyphens that az writes in it.
func (d *decoder) plainName(name string) string {
	if d.hyphens {
		return strings.ReplaceAll(name, "-", "")
	}
	return name
}

// belongs says where the members of a level belong.
var belongs = map[string]string{
	"":                `at the top, beside "properties"`,
	"properties":      `within "properties"`,
	"scope":           `within "properties.scope"`,
	"storageLocation": `within "properties.storageLocation"`,
	"filters":         `within an object of the list "properties.filters"`,
	"captureSettings": `within "properties.captureSettings"`,
}

// list visits the items of a list. It reports whether there was a list.
func (d *decoder) list(v node, path, what string, visit func(path string, v node)) bool {
	switch v.kind {
	case kindNull:
		return false
	case kindList:
	default:
		hint := ""
		if v.kind == kindObject && what == "filters" {
			hint = ": put the object in brackets, [{…}]"
		}
		d.wrongType(v, path, "a list of "+what+hint)
		return false
	}
	for i, item := range v.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.kind == kindNull {
			d.wrongType(item, at, "one of the "+what+", or nothing at all")
			continue
		}
		visit(at, item)
	}
	return true
}

func (d *decoder) text(v node, path string) *string {
	switch v.kind {
	case kindString, kindWord:
		return &v.text
	case kindNumber, kindBool:
		d.wrongType(v, path, fmt.Sprintf("a string: write %q", v.text))
	default:
		d.wrongType(v, path, "a string")
	}
	return nil
}

func (d *decoder) texts(v node, path string) []string {
	texts := []string{}
	d.list(v, path, "strings", func(path string, v node) {
		if s := d.text(v, path); s != nil {
			texts = append(texts, *s)
		}
	})
	return texts
}

// bool reads a boolean. Any other value but null is read as false, with a fault:
// the mode depends on whether the member is there, and without a value the
// request would get faults of the mode that was not meant.
func (d *decoder) bool(v node, path string) *bool {
	b := v.text == "true"
	if v.kind == kindWord && (sameName(v.text, "true") || sameName(v.text, "false")) {
		b = sameName(v.text, "true")
		return &b
	}
	if v.kind != kindBool {
		d.wrongType(v, path, "true, false (without quotes) or null")
	}
	return &b
}

// plainName is a member's name that needs no quotes in a path.
var plainName = pattern(`^[A-Za-z_$][A-Za-z0-9_$-]{0,63}$`)

func joinPath(path, name string) string {
	switch {
	case !plainName().MatchString(name):
		return path + "[" + fault.Quote(name) + "]"
	case path == "":
		return name
	default:
		return path + "." + name
	}
}
