package main

import (
	"fmt"
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
			return spec, fmt.Errorf("%s is not of the form member=value", fault.Quote(pair))
		case to == nil:
			return spec, fmt.Errorf("unknown member %s%s; allowed: %s", fault.Quote(key), didYouMean(key, "", names), strings.Join(names, ", "))
		case *to != nil:
			return spec, fmt.Errorf("%s is given twice", fault.Quote(key))
		}
		*to = new(strings.TrimSpace(value))
		last = to
	}
	return spec, nil
}
