package request

import (
	"fmt"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/filter"
)

// Additions are what of a capture the API's request has no member for. Like
// Output they are no part of it, and are given back beside it.
type Additions struct {
	Exclude     []filter.Spec `json:"exclude,omitempty"`     // what matches any of them is not recorded
	HeadersOnly bool          `json:"headersOnly,omitempty"` // each packet is cut behind its last header
	// StopWhen are the filters of the packet that ends the capture, nil for none.
	StopWhen  []filter.Spec `json:"stopWhen,omitempty"`
	StopAfter time.Duration `json:"stopAfter,omitempty"` // how long it goes on after that packet; nanoseconds
}

// DefaultStopAfter is how long a capture goes on after the packet that ends it, unless said otherwise.
const DefaultStopAfter = 5 * time.Second

// MaxStopAfter is how long a capture may go on after the packet that ends it.
const MaxStopAfter = 7 * 24 * time.Hour

// additions checks what the request has no member for. Its faults are of flags:
// nothing else gives it.
func (v *validator) additions(c *Config) {
	given := v.host.Additions
	exclude := v.ownFilters("--exclude", given.Exclude)
	c.Filters = c.Filters.Without(exclude...)
	c.Additions.Exclude = canonical(exclude)
	c.Additions.HeadersOnly = given.HeadersOnly
	if len(given.StopWhen) == 0 {
		return
	}
	events := v.ownFilters("--stop-when", given.StopWhen)
	c.StopWhen = filter.NewEvent(events...)
	c.Additions.StopWhen = canonical(events)
	if given.StopAfter < 0 || given.StopAfter > MaxStopAfter {
		v.fault("--stop-after", "%s given; allowed: 0s to %s", given.StopAfter, MaxStopAfter)
	}
	c.Additions.StopAfter = given.StopAfter
}

// ownFilters are the filters of a flag that may be given again and again.
func (v *validator) ownFilters(flag string, specs []filter.Spec) []filter.Filter {
	filters := make([]filter.Filter, 0, len(specs))
	for i, spec := range specs {
		f, faults := filter.Parse(spec)
		for _, why := range faults {
			v.fault(fmt.Sprintf("%s #%d, %s", flag, i+1, why.Field), "%s", fault.Mask(why.Reason))
		}
		filters = append(filters, f)
	}
	return filters
}

// canonical are the filters as they are printed, nil for none.
func canonical(filters []filter.Filter) []filter.Spec {
	var specs []filter.Spec
	for _, f := range filters {
		specs = append(specs, f.Spec())
	}
	return specs
}

// noteOwn keeps what of a filter in a body the service would refuse.
func (d *decoder) noteOwn(path string, s filter.Spec) {
	for _, own := range s.Own() {
		d.own = append(d.own, fmt.Sprintf("%s.%s (%s)", path, own.Field, own.Reason))
	}
}

const noteOwn = "the service would refuse what is pcapctl's own: "
