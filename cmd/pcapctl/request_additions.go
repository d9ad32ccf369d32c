package main

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/filter"
)

const (
	flagExclude     = "exclude"
	flagHeadersOnly = "headers-only"
	flagStopWhen    = "stop-when"
	flagStopAfter   = "stop-after"
)

// mySSH as a filter of --exclude is the connection by which this shell is controlled.
const mySSH = "my-ssh"

// additionFlags are what of a capture the request has no member for.
type additionFlags struct {
	exclude     []string
	headersOnly bool
	stopWhen    []string
	stopAfter   string
}

func (o *additionFlags) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.exclude, flagExclude, nil, "leave out what this `filter` matches, as in 'protocol=UDP,remotePort=53'; may be repeated; my-ssh is the SSH connection that you type in")
	f.BoolVar(&o.headersOnly, flagHeadersOnly, false, "cut each packet behind its last header: no payload is recorded")
	f.StringArrayVar(&o.stopWhen, flagStopWhen, nil, "end the capture when a packet of this `filter` has been recorded, as in 'tcpFlags=rst,remotePort=443'; may be repeated: any of them")
	f.StringVar(&o.stopAfter, flagStopAfter, "", "with --stop-when: the `time` that the capture goes on after that packet (default 5s)")
}

// additions are what the flags stand for. The error has all their faults.
func (o *additionFlags) additions() (request.Additions, error) {
	a := request.Additions{HeadersOnly: o.headersOnly}
	errs := make([]error, 3)
	a.Exclude, errs[0] = shortFilters(flagExclude, o.exclude, func(text string) (filter.Spec, error) {
		if strings.EqualFold(strings.TrimSpace(text), mySSH) {
			return sshConnection(os.Getenv)
		}
		return shortFilter(text)
	})
	a.StopWhen, errs[1] = shortFilters(flagStopWhen, o.stopWhen, shortFilter)
	a.StopAfter, errs[2] = o.after()
	return a, fault.Join(errs...)
}

// after is the value of --stop-after, 0 without --stop-when.
func (o *additionFlags) after() (time.Duration, error) {
	invalid := func(message string) error {
		return fault.OfRequest([]fault.Detail{{Code: fault.CodeInvalidValue, Target: "--" + flagStopAfter, Message: message}})
	}
	switch {
	case len(o.stopWhen) == 0 && o.stopAfter != "":
		return 0, invalid("it goes with --" + flagStopWhen + ", which tells after which packet")
	case len(o.stopWhen) == 0:
		return 0, nil
	case o.stopAfter == "":
		return request.DefaultStopAfter, nil
	}
	d, err := durationOf(o.stopAfter)
	if err != nil || d < 0 || d > request.MaxStopAfter {
		return 0, invalid(notAllowed(o.stopAfter, "a duration such as 500ms, 5s or 1m, from 0s to 7d").Error())
	}
	return d, nil
}

// shortFilters reads the filters of a flag.
func shortFilters(flag string, given []string, read func(string) (filter.Spec, error)) (specs []filter.Spec, err error) {
	var faults []fault.Detail
	for i, text := range given {
		spec, err := read(text)
		if err != nil {
			faults = append(faults, fault.Detail{
				Code: fault.CodeInvalidValue, Target: fmt.Sprintf("--%s #%d", flag, i+1), Message: err.Error(),
			})
		}
		specs = append(specs, spec)
	}
	return specs, fault.OfRequest(faults)
}

// instance is how az names an instance of a scale set, of which its --exclude has a
// list.
var instance = regexp.MustCompile(`^([A-Za-z0-9-]+_)?[0-9]+$`)

// takeInstances takes the values of --exclude that az would take for instances of a
// scale set.
func (o *additionFlags) takeInstances() (instances []string) {
	isInstance := func(text string) bool { return instance.MatchString(text) || text == "[]" }
	for _, text := range o.exclude {
		if isInstance(text) {
			instances = append(instances, text)
		}
	}
	o.exclude = slices.DeleteFunc(slices.Clone(o.exclude), isInstance)
	return instances
}

const sshVariable = "SSH_CONNECTION"

// sshConnection is the connection that sshd has told the shell: the client's address
// and port, and the server's (sshd(8)). The environment may have anything in it.
func sshConnection(getenv func(string) string) (spec filter.Spec, err error) {
	text := getenv(sshVariable)
	if text == "" {
		why := "this shell is not one that ssh controls"
		if getenv("SUDO_UID") != "" {
			why = "sudo does not hand it on: call `sudo --preserve-env=" + sshVariable + " pcapctl …`"
		}
		return spec, fmt.Errorf("%s is not known, as %s is not set: %s, or name the connection, as in 'protocol=TCP,localPort=22,remoteIPAddress=203.0.113.9'", mySSH, sshVariable, why)
	}
	wrong := fmt.Errorf("%s is not known, as %s is %s and not two addresses with their ports, such as \"203.0.113.9 50222 10.0.0.4 22\"", mySSH, sshVariable, fault.Quote(text))
	words := strings.Split(text, " ")
	if len(words) != 4 {
		return spec, wrong
	}
	var addrs [2]netip.Addr
	for i := range addrs {
		a, err := netip.ParseAddr(words[2*i])
		port, perr := strconv.ParseUint(words[2*i+1], 10, 16)
		if err != nil || perr != nil || port == 0 || words[2*i+1] != strconv.FormatUint(port, 10) || a.IsUnspecified() || a.IsMulticast() {
			return spec, wrong
		}
		addrs[i] = a.WithZone("").Unmap() // a packet has no zone
	}
	if addrs[0].Is4() != addrs[1].Is4() {
		return spec, wrong
	}
	return filter.Spec{
		Protocol:        new("TCP"),
		RemoteIPAddress: new(addrs[0].String()), RemotePort: &words[1],
		LocalIPAddress: new(addrs[1].String()), LocalPort: &words[3],
	}, nil
}
