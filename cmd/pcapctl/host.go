package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"pcapctl/capture/container"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/capture/source/live"
)

// host is what a request is checked against on this machine.
func (s *settings) host() request.Host {
	name, err := os.Hostname()
	if err != nil || name == "" {
		name = "localhost"
	}
	limits, _ := s.ownLimits() // session tells what is wrong with them
	return request.Host{
		GOOS:          runtime.GOOS,
		Name:          name,
		CapturesDir:   setCapturesDir.text(s),
		StorageSuffix: setStorageSuffix.text(s),
		BlobEndpoint:  setBlobEndpoint.text(s),
		Now:           time.Now(),
		Output:        request.Output{Format: setFormat.text(s), Precision: setPrecision.text(s), Compress: setCompress.text(s)},
		Limits:        limits,
		Application:   buildVersion().Version,
	}
}

// ownLimits are the limits that the request has no member for. Its error has all faults of their settings.
func (s *settings) ownLimits() (request.Limits, error) {
	packets, err1 := setPacketLimit.value(s)
	every, err2 := setRotateEvery.value(s)
	return request.Limits{Packets: packets, RotateEverySeconds: every}, fault.Join(err1, err2)
}

// stateDir is the state folder, as an absolute path.
func (s *settings) stateDir() (string, error) {
	dir := setStateDir.text(s)
	if dir == "" {
		var err error
		if dir, err = defaultStateDir(); err != nil {
			return "", &fault.Error{
				Class: fault.Invalid, Target: setStateDir.key, Err: err,
				Message: fmt.Sprintf("the default state folder is not known (%v): name one with --%s", err, setStateDir.key),
			}
		}
	}
	return filepath.Abs(dir)
}

func defaultStateDir() (string, error) {
	if asRoot {
		return rootStateDir(), nil
	}
	return userStateDir()
}

// target is the machine's own resource id, for requests made of flags.
func (s *settings) target() string {
	if id := setTarget.text(s); id != "" {
		return id
	}
	return vmID("", s.host().Name)
}

// source is where packets come from. Its error has all faults of its settings.
func (s *settings) source() (live.Options, error) {
	promiscuous, err1 := setPromiscuous.value(s)
	icmpErrors, err2 := setICMPErrors.value(s)
	interfaces, err3 := setInterface.value(s)
	size, err4 := setBufferSize.value(s)
	cooked, err5 := setCooked.value(s)
	return live.Options{
		Interfaces: interfaces, Promiscuous: promiscuous, NoICMPErrors: !icmpErrors,
		BufferSize: int(size), Cooked: cooked,
	}, fault.Join(err1, err2, err3, err4, err5)
}

// network is the network namespace to capture in: Netns and Container of the options.
// Error classes: those of container.Find.
func (s *settings) network() (o live.Options, err error) {
	o.Netns = setNetns.text(s)
	name := setContainer.text(s)
	if err := s.oneNetwork(); err != nil || name == "" {
		return o, err
	}
	c, err := container.Find(name, container.ThisMachine())
	if err != nil {
		return o, err
	}
	o.Netns, o.Container = c.Netns(), c.String()
	return o, nil
}

// oneNetwork refuses two settings of the network namespace.
func (s *settings) oneNetwork() error {
	if setContainer.text(s) == "" || setNetns.text(s) == "" {
		return nil
	}
	return fault.OfRequest([]fault.Detail{{
		Code: fault.CodeInvalidValue, Target: "--" + setContainer.key,
		Message: "not together with --" + setNetns.key + ": both say which network namespace it is",
	}})
}

// limits fills the members of the request that neither body nor flags gave.
func (s *settings) limits(p *request.Properties) error {
	var faults []fault.Detail
	for _, limit := range limitsOf(p) {
		text, given := limit.setting.given(s)
		if *limit.member == nil && given {
			faults = append(faults, limit.set(limit.setting.key, text)...)
		}
	}
	return fault.OfRequest(faults)
}

// onFile is the command for files that are finished.
func (s *settings) onFile() (save.OnFile, error) {
	timeout, err := setOnFileTimeout.value(s)
	o := save.OnFile{Command: setOnFile.text(s), Timeout: timeout}
	return o, fault.Join(err, s.policy.allows(o.Command))
}

// spoolFolder is in the state folder, beside the folders of sessions; a session
// cannot have this name.
const spoolFolder = ".spool"

// upload is how captures reach their blobs on this host.
func (s *settings) upload(stateDir string) (deliver.Settings, error) {
	mode, err1 := setAuthMode.value(s)
	grace, err2 := setUploadGrace.value(s)
	size, err3 := setSpoolSize.value(s)
	u := deliver.Settings{AuthMode: mode, Grace: grace, SpoolDir: setSpoolDir.text(s), SpoolSize: size}
	if err := fault.Join(err1, err2, err3); err != nil {
		return u, err
	}
	switch {
	case u.SpoolDir == "" && stateDir == "":
		return u, nil // a capture that needs a spool is refused when it is planned
	case u.SpoolDir == "":
		u.SpoolDir = filepath.Join(stateDir, spoolFolder)
	}
	var err error
	if u.SpoolDir, err = filepath.Abs(u.SpoolDir); err != nil {
		return u, fault.Errorf(fault.Internal, "%w", err)
	}
	return u, nil
}
