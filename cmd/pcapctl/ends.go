package main

import (
	"strings"

	"github.com/spf13/pflag"

	"pcapctl/filter"
)

const (
	flagHost = "host"
	flagPort = "port"
)

// endFlags are filters that do not ask which end is the local one.
type endFlags struct{ hosts, ports []string }

func (e *endFlags) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&e.hosts, flagHost, nil, "`address` of either end: one, a range, or a list with commas; may be repeated")
	f.StringArrayVar(&e.ports, flagPort, nil, "`port` of either end: one, a range, or a list with commas; may be repeated; together with --host both must match")
}

// filters are the filters that the flags stand for, nil for none. One that names
// the local address matches packets either way round, so that it finds the address
// at either end; a port needs one filter for each end.
func (e *endFlags) filters() []filter.Spec {
	hosts, ports := listOf(e.hosts), listOf(e.ports)
	switch {
	case hosts == nil && ports == nil:
		return nil
	case ports == nil:
		return []filter.Spec{{LocalIPAddress: hosts}}
	}
	return []filter.Spec{{LocalIPAddress: hosts, LocalPort: ports}, {LocalIPAddress: hosts, RemotePort: ports}}
}

// words are the filters of the flags as they were meant.
func (e *endFlags) words() string {
	var list []string
	for _, end := range []struct {
		name  string
		given []string
	}{{flagHost, e.hosts}, {flagPort, e.ports}} {
		if end.given != nil {
			list = append(list, end.name+" "+strings.Join(splitCommas(end.given), " or "))
		}
	}
	return strings.Join(list, ", ")
}

// listOf makes a list in the notation of filters, nil for none.
func listOf(given []string) *string {
	if given == nil {
		return nil
	}
	return new(strings.Join(splitCommas(given), ";"))
}
