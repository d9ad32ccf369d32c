// Package capfile is the source of packets that were captured earlier, and are
// read from a pcap or pcapng file.
package capfile

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
)

// StandardInput as the path of Options is the stream that is handed over with
// it.
const StandardInput = "-"

// flag is what the errors of the file that is read are told about.
const flag = "--read-file"

// Options say which capture packets are taken from, instead of an interface.
type Options struct {
	Path  string    // of a pcap or pcapng file, or StandardInput
	Stdin io.Reader // used with StandardInput only
	// Open opens the file, nil for os.Open. It is called once.
	Open func(path string) (*os.File, error)
	// Done is closed when nobody waits for the file any more: a FIFO has nobody at its other end at
	// first, and a pipe no bytes. nil is for whoever waits as long as it takes. Prepare then fails.
	Done <-chan struct{}
	// Local are the addresses of the local side. Without any, the direction
	// that the file tells for a packet decides, and where it tells none, either
	// end may be the local one.
	Local []netip.Prefix
}

// Spec is a capture of packets of a file as planned. The file is opened by
// Prepare.
type Spec struct {
	options Options
	config  *request.Config
	match   matcher
	others  *matcher // of packets that do not end the capture; nil where none does
}

// NewSpec checks the options by themselves; the file is not looked at.
//
// Error class: Invalid.
func NewSpec(c *request.Config, o Options) (*Spec, error) {
	if c.Rotates() {
		return nil, &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "properties.continuousCapture", Message: "a capture that is read from a file is written to one file: " +
			"say false, or leave out continuousCapture and captureSettings"}
	}
	if c.Blob != nil {
		return nil, &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "properties.storageLocation.storageId", Message: "a capture that is read from a file is not saved to a storage account: " +
			"name a file by storageLocation.filePath and no storageId"}
	}
	match, err := newMatcher(c.Filters, o.Local)
	if err != nil {
		return nil, err
	}
	s := &Spec{options: o, config: c, match: *match}
	if !c.StopWhen.IsZero() {
		if s.others, err = newMatcher(c.StopWhen.Others(), o.Local); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Name is the file for people.
func (s *Spec) Name() string { return inputName(s.options.Path) }

func inputName(path string) string {
	if path == StandardInput {
		return "standard input"
	}
	return path
}

// Report implements source.Spec.
func (s *Spec) Report() source.Report {
	return source.Report{FilterMode: source.FilterUser, File: source.File{Path: s.options.Path, Size: -1}}
}

// Warnings implements source.Spec.
func (s *Spec) Warnings() []string {
	return slices.Concat(s.config.Filters.Warnings(nil, 0), s.config.StopWhen.Warnings(s.config.Filters))
}

// Reads implements source.Spec.
func (s *Spec) Reads(path string) bool {
	out, err := os.Stat(path)
	if err != nil {
		return false
	}
	var in os.FileInfo
	if s.options.Path != StandardInput {
		in, err = os.Stat(s.options.Path)
	} else if f, ok := s.options.Stdin.(*os.File); ok {
		in, err = f.Stat()
	}
	return in != nil && err == nil && os.SameFile(in, out)
}

// Prepare opens the file and reads as far as its first packet, so that what is
// not a capture is refused before anything is made.
//
// Error classes: Invalid (also for a file that is damaged before its first
// packet), NotFound, Forbidden, Failed.
func (s *Spec) Prepare(reading func() error) (_ source.Source, err error) {
	f := newSource(s)
	f.in, err = openInput(s.options)
	switch {
	case errors.Is(err, errInterrupted):
		return nil, s.prepareError(errInterrupted)
	case err != nil:
		return nil, err
	}
	defer func() {
		if err != nil && !errors.Is(err, errInterrupted) { // else a read of the file may still be waiting
			_ = f.Close()
		}
	}()
	if err := reading(); err != nil {
		return nil, err
	}
	if err := until(s.options.Done, f.begin); err != nil {
		return nil, s.prepareError(err)
	}
	// Of a file with several link types, the packets that can be looked into are.
	if !slices.ContainsFunc(f.reader.LinkTypes(), func(l pcapfile.LinkType) bool { return s.checkLink(l) == nil }) {
		if err := s.checkLink(f.header.Kind()); err != nil {
			return nil, &fault.Error{Class: fault.Invalid, Target: flag, Message: s.Name() + ": " + err.Error()}
		}
	}
	if f.keep {
		return blockSource{f}, nil
	}
	return f, nil
}

// until does something that nothing but what it waits for can end. If that does not come before
// done is closed, it is left to itself, and the error is errInterrupted.
func until(done <-chan struct{}, do func() error) error {
	result := make(chan error, 1)
	go func() { result <- do() }()
	select {
	case err := <-result:
		return err
	case <-done:
		return errInterrupted
	}
}

// prepareError says what is wrong with the start of the file.
func (s *Spec) prepareError(err error) error {
	class := fault.Failed
	if errors.Is(err, errInterrupted) {
		err = fmt.Errorf("%w before its first packet came; no file was made", errInterrupted)
	}
	if _, ok := errors.AsType[*pcapfile.FormatError](err); ok {
		class = fault.Invalid
	}
	if _, ok := errors.AsType[*compressedError](err); ok {
		class = fault.Invalid
	}
	e := fault.Errorf(class, "%s: %w", s.Name(), err)
	e.Target = flag
	return e
}

// checkLink refuses link types that the filters cannot look into.
func (s *Spec) checkLink(l pcapfile.LinkType) error {
	if knowsLink(l) || s.config.Filters.RecordsAll() && !s.config.Additions.HeadersOnly && s.config.StopWhen.IsZero() {
		return nil
	}
	what := "filters"
	if s.config.Filters.RecordsAll() {
		if what = "--headers-only"; !s.config.Additions.HeadersOnly {
			what = "--stop-when"
		}
	}
	return fmt.Errorf(what+" cannot look into packets of %s; allowed: Ethernet, Linux cooked v1 and v2, raw IP, BSD loopback, "+
		"PPP, 802.11 with and without radiotap, Cisco HDLC, Frame Relay, SLIP; without them, every link type", l)
}

// sideWarning warns of filters that have to guess which end is the local one.
// It is "" where they need not. first is the file's first packet.
func (s *Spec) sideWarning(link pcapfile.LinkType, first *pcapfile.Packet) string {
	if len(s.options.Local) == 0 && !tellsDirection(link) && first.Direction == pcapfile.UnknownDirection && slices.ContainsFunc(slices.Concat(s.config.Filters.Filters(), s.config.Filters.Excludes()), asksForSide) {
		return "the file does not tell which end of a packet is the local one, so filters take either; --local-address tells them"
	}
	return ""
}
