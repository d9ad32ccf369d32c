package capture

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
	"pcapctl/filter"
)

// EndOfFile is the stop reason of a capture that was made of a file and has
// come to its end.
const EndOfFile StopReason = "EndOfFile"

// FilterModeUser is the filter mode of a capture that was made of a file.
const FilterModeUser = "user"

// StandardInput as the path of a FileSource is the stream that is handed over
// with it.
const StandardInput = "-"

// FileSource says which capture packets are taken from, instead of an
// interface.
type FileSource struct {
	Path  string    // of a pcap or pcapng file, or StandardInput
	Stdin io.Reader // used with StandardInput only
	// Local are the addresses of the local side. Without any, the direction
	// that the file tells for a packet decides, and where it tells none, either
	// end may be the local one.
	Local []netip.Prefix
	// NoICMPErrors leaves out ICMP errors that quote a packet of the filters.
	NoICMPErrors bool
}

// OfflinePlan is a valid session on packets of a file, of which the start has
// been read and found good. It holds the file open: Close it.
type OfflinePlan struct {
	Config   *request.Config
	Path     string // as the source has it
	Format   string // of the file, in words
	LinkType pcapfile.LinkType
	Warnings []string
	MinFree  *int64 // as in Options
	OnFile   OnFile // as in Options

	in     *input
	reader *pcapfile.Reader
	header pcapfile.LinkType // as it goes into the header of the file written
	first  pcapfile.Packet   // read already, unless empty
	empty  bool
	match  *matcher
}

// PlanOffline opens the file and reads as far as its first packet, so that what
// is no capture is refused before anything is made. Nothing is changed and no
// privilege is needed.
//
// Error classes: Invalid (also for a file that is damaged before its first
// packet), NotFound, Forbidden, Failed.
func PlanOffline(c *request.Config, s FileSource) (_ *OfflinePlan, err error) {
	if c.IsRing() {
		return nil, &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "properties.continuousCapture", Message: "a capture that is read from a file is written to one file: " +
			"say false, or leave out continuousCapture and captureSettings"}
	}
	if c.Blob != nil {
		return nil, &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "properties.storageLocation.storageId", Message: "a capture that is read from a file is not saved to a storage account: " +
			"name a file by storageLocation.filePath and no storageId"}
	}
	if s.NoICMPErrors {
		c = c.WithoutICMPErrors()
	}
	p := &OfflinePlan{Config: c, Path: s.Path, Warnings: slices.Clone(c.Warnings)}
	if p.in, err = openInput(s); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = p.Close()
		}
	}()
	if err := p.begin(); err != nil {
		return nil, p.readError(err)
	}
	if err := p.checkLink(p.LinkType); err != nil {
		return nil, &fault.Error{Class: fault.Invalid, Target: "--read-file", Message: p.Name() + ": " + err.Error()}
	}
	if p.match, err = newMatcher(c.Filters, s.Local); err != nil {
		return nil, err
	}
	p.warn(s)
	return p, nil
}

// begin reads the header and the first packet.
func (p *OfflinePlan) begin() error {
	var err error
	if p.reader, err = pcapfile.NewReader(p.in); err != nil {
		return err
	}
	err = p.reader.Next(&p.first)
	p.empty = errors.Is(err, io.EOF)
	if err != nil && !p.empty {
		return err
	}
	p.Format = p.reader.Format()
	link, known := p.reader.LinkType()
	switch {
	case !known:
		return &pcapfile.FormatError{Reason: "the file has no packets and describes no interface, so that it has no link type"}
	case p.empty || p.first.LinkType == link.Kind():
		p.header = link
	default: // of another interface than the first
		p.header = p.first.LinkType
	}
	p.LinkType = p.header.Kind()
	return nil
}

// readError tells what was wrong with the start of the file.
func (p *OfflinePlan) readError(err error) error {
	class := fault.Failed
	if _, ok := errors.AsType[*pcapfile.FormatError](err); ok {
		class = fault.Invalid
	}
	e := fault.Errorf(class, "%s: %w", p.Name(), err)
	e.Target = "--read-file"
	return e
}

// checkLink refuses link types that the filters know nothing of.
func (p *OfflinePlan) checkLink(l pcapfile.LinkType) error {
	if knowsLink(l) || recordsAll(p.Config.Filters) {
		return nil
	}
	return fmt.Errorf("filters cannot look into packets of %s; allowed: Ethernet, Linux cooked v1 and v2, raw IP, BSD loopback; without filters, every link type", l)
}

// recordsAll tells a set that no packet has to be looked into for.
func recordsAll(s filter.Set) bool {
	return s.Len() == 0 || slices.ContainsFunc(s.Filters(), filter.Filter{}.Equal)
}

func (p *OfflinePlan) warn(s FileSource) {
	c := p.Config
	p.Warnings = append(p.Warnings, c.Filters.Warnings(nil)...)
	cooked := p.LinkType == pcapfile.SLL || p.LinkType == pcapfile.SLL2
	if len(s.Local) == 0 && !cooked && p.first.Direction == pcapfile.UnknownDirection && slices.ContainsFunc(c.Filters.Filters(), asksForSide) {
		p.Warnings = append(p.Warnings, "the file does not tell which end of a packet is the local one, so filters take either; --local-address tells them")
	}
}

// Name is the file for people.
func (p *OfflinePlan) Name() string { return inputName(p.Path) }

func inputName(path string) string {
	if path == StandardInput {
		return "standard input"
	}
	return path
}

// Size is how many bytes there are to read, or -1 when that is not known, as
// with a pipe.
func (p *OfflinePlan) Size() int64 { return p.in.size }

// Close gives up the file that is read. After Start it is the session's
// business.
func (p *OfflinePlan) Close() error { return p.in.close() }

// CheckFile says whether the file to be written could be made as far as that
// can be seen without making it. Only Start knows for sure.
//
// Error classes: Conflict, NotFound.
func (p *OfflinePlan) CheckFile() error {
	return p.writeError((&Plan{Config: p.Config}).CheckFile())
}

// writeError tells that the file to be written is the very one that is read.
func (p *OfflinePlan) writeError(err error) error {
	if err == nil || p.in.stat == nil || fault.ClassOf(err) != fault.Conflict {
		return err
	}
	if out, serr := os.Stat(p.Config.FilePath); serr == nil && os.SameFile(out, p.in.stat) {
		return fault.Errorf(fault.Conflict, "%s is the file that is read: nothing is overwritten; choose another filePath", p.Config.FilePath)
	}
	return err
}
