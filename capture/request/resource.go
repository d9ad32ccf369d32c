package request

import (
	"fmt"
	"slices"
	"strings"

	"pcapctl/capture/fault"
)

// outputOnly are members that are not part of a request and that are ignored,
// whatever they hold: those of a resource as create and show print it, as the
// service sends it, and as az and PowerShell print it. So what was printed can be
// sent again.
var outputOnly = map[string][]string{
	"": {"id", "etag", "type", "resourceGroup", "resourceGroupName"},
	"properties": {
		"provisioningState", "captureStartTime", "packetCaptureStatus", "stopReason", "packetCaptureError", statisticsMember,
		"queryPacketCaptureLastOperationId",
		// of PowerShell, which prints some members once more as text
		"storageLocationText", "filtersText", "scopeText", "captureSettingsText",
	},
}

// templateOnly are the members of a resource in an ARM or Bicep template that
// mean nothing here.
var templateOnly = []string{
	"apiVersion", "location", "dependsOn", "tags", "comments", "condition", "copy", "parent",
	"kind", "sku", "identity", "zones", "systemData", "resources",
}

// statisticsMember is where a printed resource has the additions of its capture.
const statisticsMember = "statistics"

// noteAdditions keeps what a printed resource's capture had besides its request: whoever sends that again would record
// what was left out.
func (d *decoder) noteAdditions(path string, statistics node) {
	for _, m := range statistics.members {
		for _, name := range []string{"exclude", "headersOnly", "stopWhen"} {
			if m.name == name && m.value.kind != kindNull {
				d.ignored = append(d.ignored, joinPath(path, name))
			}
		}
	}
}

// The notes about resources.
const (
	noteFlat    = `the request is a resource in the flat form that az and PowerShell print: its members were read as those of "properties"`
	noteIgnored = "passed over, because a request has no such members: "
	noteName    = "the name %s was read as %s: the watcher before it means nothing here"
)

// maxNamed is how many members the note about ignored ones names.
const maxNamed = 10

// resource looks at what kind of resource the text is. The flat form of one is
// given back in the form that the service has.
func (d *decoder) resource(root node) node {
	if root.kind != kindObject {
		return root
	}
	d.printed = isPrinted(root)
	d.template = !d.printed && (root.has("apiVersion") || root.has("type"))
	if !d.printed || root.has("properties") || !slices.ContainsFunc(memberNames["properties"], root.has) {
		return root
	}
	d.notes = append(d.notes, noteFlat)
	top := slices.Concat([]string{"name"}, outputOnly[""], templateOnly)
	nested := node{kind: kindObject}
	inner := node{kind: kindObject}
	for _, m := range root.members {
		if slices.ContainsFunc(top, func(name string) bool { return sameName(name, m.name) }) {
			nested.members = append(nested.members, m)
		} else {
			inner.members = append(inner.members, m)
		}
	}
	nested.members = append(nested.members, member{"properties", inner})
	return nested
}

// isPrinted tells whether an object is a resource that the service or a client
// has printed: it has a member that only those have.
func isPrinted(root node) bool {
	if root.has("etag") || root.has("provisioningState") || root.has("resourceGroup") {
		return true
	}
	for _, m := range root.members {
		switch {
		case sameName(m.name, "id") && containsFold(m.value.text, "/packetCaptures/"),
			sameName(m.name, "properties") && m.value.has("provisioningState"):
			return true
		}
	}
	return false
}

// has tells whether an object has a member of this name.
func (n node) has(name string) bool {
	return slices.ContainsFunc(n.members, func(m member) bool { return sameName(m.name, name) })
}

// passesOver tells whether an unknown member is no fault: one that templates
// have, and in a printed resource one that a later version of the service may
// have added. What is near to a known name, or belongs elsewhere, was probably
// changed by hand.
func (d *decoder) passesOver(name, level string) bool {
	if level == "" && (d.printed || d.template) && slices.ContainsFunc(templateOnly, func(k string) bool { return sameName(k, name) }) {
		return true
	}
	if !d.printed || fault.Nearest(name, memberNames[level]) != "" {
		return false
	}
	_, elsewhere := d.levelOf(name, level)
	return !elsewhere
}

// resourceName reads the name. A template writes that of the watcher before it.
func (d *decoder) resourceName(v node, path string) *string {
	name := d.text(v, path)
	if name == nil || !d.printed && !d.template {
		return name
	}
	at := strings.LastIndexByte(*name, '/')
	if at < 0 || strings.ContainsAny(*name, "[]()") { // an expression of a template
		return name
	}
	own := (*name)[at+1:]
	d.notes = append(d.notes, fmt.Sprintf(noteName, fault.Quote(*name), fault.Quote(own)))
	return &own
}

// allNotes are the notes about the text, with those about members.
func (d *decoder) allNotes() []string {
	notes := d.notes
	for _, n := range []struct {
		note  string
		about []string
	}{{noteIgnored, d.ignored}, {noteOwn, d.own}} {
		if len(n.about) == 0 {
			continue
		}
		shown := n.about[:min(len(n.about), maxNamed)]
		note := n.note + strings.Join(shown, ", ")
		if more := len(n.about) - len(shown); more > 0 {
			note += fmt.Sprintf(" and %d more", more)
		}
		notes = append(notes, note)
	}
	return notes
}
