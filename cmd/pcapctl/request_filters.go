package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/filter"
)

// overrideFilters replaces the body's filters by those of --filters and
// --filter together.
func (r *requestFlags) overrideFilters(given *pflag.FlagSet, p *request.Properties) error {
	ends := r.ends.filters()
	if !given.Changed("filters") && !given.Changed("filter") && ends == nil {
		return nil
	}
	p.Filters = ends
	if given.Changed("filters") {
		list, err := decodeFlag(r, jsonFlag{"filters", "filters", "the list", `[{"protocol": "TCP"}]`}, []string{r.filters}, request.DecodeFilters)
		p.Filters = append(p.Filters, list...)
		if err != nil {
			return err
		}
	}
	short, err := shortFilters("filter", r.filter, shortFilter)
	p.Filters = append(p.Filters, short...)
	return err
}

// filterHint says what was probably meant by a part of a filter that is none: the name of a
// protocol by itself, the words of tcpdump, or the port or the address of either end.
func filterHint(key, value string) string {
	if value == "" {
		value = "443"
	}
	switch word := strings.ToLower(key); {
	case slices.Contains([]string{"tcp", "udp", "icmp", "any"}, word):
		return fmt.Sprintf("; write %q", "protocol="+strings.ToUpper(word))
	case word == "port":
		return fmt.Sprintf("; localPort is this machine's, remotePort the other end's; for either write the flag --port %s", fault.Mask(value))
	case strings.Contains(word, " "):
		return "; the notation is not tcpdump's, but such as \"protocol=TCP,localPort=443\""
	}
	return didYouMean(key, "", []string{mySSH})
}

// shortFilter reads one filter such as protocol=TCP,localPort=80-85. A part
// without "=" is one more entry of the list before it, as in remotePort=80,443:
// the semicolon that the request's lists have would end the command in a shell.
func shortFilter(text string) (filter.Spec, error) {
	var spec filter.Spec
	members := map[string]**string{
		"protocol": &spec.Protocol, "localipaddress": &spec.LocalIPAddress, "localport": &spec.LocalPort,
		"remoteipaddress": &spec.RemoteIPAddress, "remoteport": &spec.RemotePort, "tcpflags": &spec.TCPFlags,
	}
	names := []string{"protocol", "localIPAddress", "localPort", "remoteIPAddress", "remotePort", "tcpFlags"}
	var last **string // the member that a part without "=" belongs to
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		to := members[strings.ToLower(key)]
		switch {
		case !ok && last != nil:
			*last = new(strings.TrimSuffix(**last, ";") + ";" + key)
			continue
		case !ok && strings.EqualFold(key, mySSH):
			return spec, fmt.Errorf("%s goes with --%s", mySSH, flagExclude)
		case !ok:
			return spec, fmt.Errorf("%s is not of the form member=value%s", fault.Quote(pair), filterHint(key, ""))
		case to == nil:
			return spec, fmt.Errorf("unknown member %s%s%s; allowed: %s", fault.Quote(key), didYouMean(key, "", names), filterHint(key, value), strings.Join(names, ", "))
		case *to != nil:
			return spec, fmt.Errorf("%s is given twice", fault.Quote(key))
		}
		*to = new(strings.TrimSpace(value))
		last = to
	}
	return spec, nil
}
