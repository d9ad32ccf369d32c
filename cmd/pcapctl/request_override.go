package main

import (
	"strings"

	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

// override puts the flags that were given into the request.
func (r *requestFlags) override(given *pflag.FlagSet, req *request.Request) error {
	p := req.Properties
	if given.Changed("name") {
		req.Name = &r.name
	}
	targetErr := r.overrideTarget(given, p)
	if given.Changed("target-type") {
		p.TargetType = &r.targetType
	}
	locationErr := r.overrideLocation(given, p)
	r.overrideStorage(given, p)
	return fault.Join(
		targetErr,
		r.overrideScope(given, p),
		locationErr,
		overrideLimits(given, p),
		r.overrideFilters(given, p),
		r.overrideContinuous(given, p),
	)
}

func (r *requestFlags) overrideTarget(given *pflag.FlagSet, p *request.Properties) error {
	target, vm := textOf(given, setTarget.key), r.vm
	if !strings.HasPrefix(vm, "/") {
		vm = vmID(r.group, vm)
	}
	switch {
	case given.Changed(setTarget.key) && given.Changed("vm") && !strings.EqualFold(target, vm):
		return &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "--vm", Message: fault.Quote(vm) + " given, and another machine by --target: leave one of them out"}
	case given.Changed(setTarget.key):
		p.Target = &target
	case given.Changed("vm"):
		p.Target = &vm
	}
	return nil
}

// noSubscription stands in the ids of things of which only the name is known. No
// call is made to it.
const noSubscription = "00000000-0000-0000-0000-000000000000"

func vmID(group, name string) string {
	return armID(group, "Microsoft.Compute/virtualMachines/"+name)
}

func armID(group, rest string) string {
	if group == "" {
		group = "local"
	}
	return "/subscriptions/" + noSubscription + "/resourceGroups/" + group + "/providers/" + rest
}

// limit is a member of the request that is also a setting of the host.
type limit struct {
	setting *setting[*int64]
	path    string // of the member
	member  **int64
}

func limitsOf(p *request.Properties) []limit {
	return []limit{
		{setPerPacket, "properties.bytesToCapturePerPacket", &p.BytesToCapturePerPacket},
		{setTotal, "properties.totalBytesPerSession", &p.TotalBytesPerSession},
		{setTime, "properties.timeLimitInSeconds", &p.TimeLimitInSeconds},
	}
}

// set gives the member a value. The fault of a wrong one is at target.
func (l limit) set(target, text string) []fault.Detail {
	n, err := l.setting.parse(text)
	if err != nil {
		return []fault.Detail{{Code: fault.CodeInvalidValue, Target: target, Message: err.Error()}}
	}
	*l.member = n
	return nil
}

func overrideLimits(given *pflag.FlagSet, p *request.Properties) error {
	var faults []fault.Detail
	for _, limit := range limitsOf(p) {
		if key := limit.setting.key; given.Changed(key) {
			faults = append(faults, limit.set(aliasOf(given, "--"+key), textOf(given, key))...)
		}
	}
	return fault.OfRequest(faults)
}

// textOf is the value of a flag that holds a text.
func textOf(given *pflag.FlagSet, name string) string {
	text, _ := given.GetString(name)
	return text
}

func (r *requestFlags) overrideStorage(given *pflag.FlagSet, p *request.Properties) {
	account := r.account
	if account != "" && !strings.HasPrefix(account, "/") {
		account = armID(r.group, "Microsoft.Storage/storageAccounts/"+account)
	}
	for _, m := range []struct {
		name, value string
		to          func(*request.StorageLocation) **string
	}{
		{"storage-account", account, func(l *request.StorageLocation) **string { return &l.StorageID }},
		{"storage-path", r.storagePath, func(l *request.StorageLocation) **string { return &l.StoragePath }},
		{"file-path", r.filePath, func(l *request.StorageLocation) **string { return &l.FilePath }},
		{"local-path", r.localPath, func(l *request.StorageLocation) **string { return &l.LocalPath }},
	} {
		if !given.Changed(m.name) {
			continue
		}
		if p.StorageLocation == nil {
			p.StorageLocation = &request.StorageLocation{}
		}
		*m.to(p.StorageLocation) = &m.value
	}
}
