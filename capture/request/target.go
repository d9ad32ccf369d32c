package request

import (
	"fmt"
	"strings"

	"pcapctl/capture/fault"
	"pcapctl/filter"
)

// The types of target that the API has.
const targetTypeVM, targetTypeSS = "AzureVM", "AzureVMSS"

func (v *validator) target(given *string) ResourceID {
	const path = "properties.target"
	if given == nil {
		v.missing(path, "the member \"target\" is missing: the resource id of this virtual machine, /subscriptions/<id>/resourceGroups/<group>/providers/%s/<name>", kindVM)
		return ResourceID{}
	}
	id, err := parseVM(*given)
	if err != nil {
		v.fault(path, "%v", err)
		return ResourceID{}
	}
	v.warnPlaceholders(path, id)
	return id
}

func (v *validator) warnPlaceholders(path string, id ResourceID) {
	if left := id.Placeholders(); len(left) > 0 {
		v.warnings = append(v.warnings, fmt.Sprintf("%s still holds %s from the documentation; it is kept as it is, as a label", path, strings.Join(left, " and ")))
	}
}

func (v *validator) targetType(given *string) string {
	const path = "properties.targetType"
	switch {
	case given == nil || sameName(*given, targetTypeVM):
	case sameName(*given, targetTypeSS):
		v.fault(path, "%s is a scale set, and pcapctl captures on the one machine it runs on: run it on each instance, with targetType %q; allowed: %s", fault.Quote(*given), targetTypeVM, targetTypeVM)
	default:
		v.fault(path, "%s is not a valid type of target; allowed: %s", fault.Quote(*given), targetTypeVM)
	}
	return targetTypeVM
}

func (v *validator) scope(given *Scope) {
	if given == nil {
		return
	}
	for _, list := range []struct {
		name  string
		items []string
	}{{"include", given.Include}, {"exclude", given.Exclude}} {
		if len(list.items) > 0 {
			v.fault("properties.scope."+list.name, "%d instances of a scale set are named, and pcapctl captures on the one machine it runs on; allowed: an empty list", len(list.items))
		}
	}
}

func (v *validator) filters(specs []filter.Spec) filter.Set {
	filters := make([]filter.Filter, 0, len(specs))
	for i, spec := range specs {
		f, faults := filter.Parse(spec)
		for _, why := range faults {
			v.fault(fmt.Sprintf("properties.filters[%d].%s", i, why.Field), "%s", fault.Mask(why.Reason))
		}
		filters = append(filters, f)
	}
	return filter.NewSet(filters...)
}
