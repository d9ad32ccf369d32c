package main

import (
	"slices"
	"strings"

	"pcapctl/capture"
	"pcapctl/capture/source/live"
	"pcapctl/filter"
)

// explainNothing says what was looked at when a capture has no packets, so that its
// user sees why: another interface, the other end, loopback. It is "" for a capture
// that has some.
func explainNothing(p *capture.ResourceProperties, source live.Options) string {
	st := p.Statistics
	if st == nil || st.PacketsCaptured > 0 || st.PacketsDroppedByKernel+st.PacketsDroppedAroundLimit+st.PacketsNotWritten > 0 {
		return ""
	}
	looked, loopback := lookedAt(st, source)
	words := []string{"no packet matched: looked at " + looked + ", sent and received"}
	ofEnds, others := p.Filters[:min(source.EitherEnd, len(p.Filters))], p.Filters[min(source.EitherEnd, len(p.Filters)):]
	var wanted []string
	if len(ofEnds) > 0 {
		wanted = append(wanted, eitherEndWords(ofEnds[0]))
	}
	if len(others) > 0 {
		wanted = append(wanted, filterWordsOf(others))
	}
	if wanted != nil {
		words[0] += ", for " + strings.Join(wanted, "; or ")
	}
	if st.Exclude != nil {
		words[0] += ", but not " + filterWordsOf(st.Exclude)
	}
	words = append(words, aboutEnds(others)...)
	if !loopback {
		words = append(words, "loopback is not captured unless it is named (-i "+loopbackWord()+"): a connection of this machine to itself goes there")
	}
	return strings.Join(words, "; ")
}

// lookedAt names the interfaces, and tells whether loopback is among them.
func lookedAt(st *capture.Statistics, source live.Options) (names string, loopback bool) {
	if slices.Contains(source.Interfaces, live.AnyInterface) {
		return "every interface", true
	}
	list, lo := make([]string, len(st.Interfaces)), loopbackName()
	for i, f := range st.Interfaces {
		list[i] = f.Name
		loopback = loopback || f.Name == lo
	}
	if len(list) == 0 {
		return "no interface", loopback
	}
	return strings.Join(list, ", "), loopback
}

// loopbackWord is the name of loopback as a command line takes it.
func loopbackWord() string {
	if name := loopbackName(); strings.ContainsRune(name, ' ') {
		return `"` + name + `"`
	}
	return loopbackName()
}

// eitherEndWords says what the filters that --host and --port stand for match. spec
// is the first of them, which names the local end.
func eitherEndWords(spec filter.Spec) string {
	var e endFlags
	if h := spec.LocalIPAddress; h != nil && *h != "" {
		e.hosts = strings.Split(*h, ";")
	}
	if p := spec.LocalPort; p != nil && *p != "" {
		e.ports = strings.Split(*p, ";")
	}
	return e.words() + " at either end"
}

func filterWordsOf(specs []filter.Spec) string {
	var filters []filter.Filter
	for _, spec := range specs {
		if f, faults := filter.Parse(spec); faults == nil {
			filters = append(filters, f)
		}
	}
	return filter.NewSet(filters...).String()
}

// aboutEnds says whose the ends of the filters are.
func aboutEnds(specs []filter.Spec) []string {
	var local, remote bool
	given := func(member *string) bool { return member != nil && *member != "" } // the result has "" for what was left out
	for _, f := range specs {
		local = local || given(f.LocalPort) || given(f.LocalIPAddress)
		remote = remote || given(f.RemotePort) || given(f.RemoteIPAddress)
	}
	const either = " (--port and --host take either end)"
	switch {
	case local && remote:
		return nil
	case local:
		return []string{"local is this machine's own end: a server that it calls is remotePort, remoteIPAddress" + either}
	case remote:
		return []string{"remote is the other machine's end: a server on this machine is localPort, localIPAddress" + either}
	}
	return nil
}
