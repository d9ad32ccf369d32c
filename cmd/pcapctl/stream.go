package main

import (
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/sandbox"
	"pcapctl/capture/save"
)

// A capture to standard output is a stream: its result goes elsewhere.

const flagResultFile = "result-file"

// notWithStream are flags that need a file, and why a stream does not go with them.
var notWithStream = []struct{ name, why string }{
	{"no-wait", "nobody reads the standard output of a session in the background"},
	{"inspect", "there is no file to look at: let inspect read the stream, pcapctl create --file-path - … | pcapctl inspect -"},
	{setOnFile.key, "there is no file that is finished"},
	{setOnFileTimeout.key, "there is no file that is finished"},
	{setMinFree.key, "nothing is written to a disk"},
	{setContext.key, "it is a file beside the capture's"},
	{setRotateEvery.key, "there are no files"},
	{setSpoolDir.key, "there is no blob"},
	{setSpoolSize.key, "there is no blob"},
}

// checkStreamFlags refuses flags that need a file. Settings of the host that do mean nothing for a stream.
func checkStreamFlags(given *pflag.FlagSet) error {
	var faults []fault.Detail
	refuse := func(name, why string) {
		faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: "--" + name, Message: "not together with --file-path " + request.StandardOutput + ": " + why})
	}
	for _, f := range notWithStream {
		if given.Changed(f.name) {
			refuse(f.name, f.why)
		}
	}
	if f := given.Lookup("if-exists"); f != nil && f.Value.String() == existsReturn {
		refuse(f.Name, "a session that exists streams to somebody else")
	}
	return fault.OfRequest(faults)
}

// openStream is where the records of a stream go; nil for a capture that makes files.
func (a *app) openStream(c *request.Config) (save.Outlet, error) {
	if !c.Stream {
		return nil, nil
	}
	if isTerminal(a.out) {
		return nil, &fault.Error{Class: fault.Invalid, Target: "--file-path", Message: "standard output is a terminal, and a capture is not text: redirect it into a program, as in `pcapctl create --file-path - | wireshark -k -i -`"}
	}
	out, err := save.OpenOutlet(a.out)
	if err != nil {
		return nil, &fault.Error{Class: fault.Invalid, Target: "--file-path", Err: err, Message: err.Error()}
	}
	return out, nil
}

// resultTo has the result of create go to a new file, if a path is given, and that of a stream to stderr behind all messages.
// Nothing of it is there unless keep is called.
func (a *app) resultTo(cmd *cobra.Command, path string, c *request.Config) (_ *page, err error) {
	file, err := a.openPage("--"+flagResultFile, path)
	switch {
	case err != nil:
		return nil, err
	case path != "":
		if !a.output.asked && a.output.query == "" {
			a.output.format = outputFormats[0] // also with --quiet
		}
		a.out = file.file
		a.unwritten.Store(file)
		a.output.fit(cmd.Flags(), a.out, false)
	case c.Stream && !a.noResult:
		a.out = a.err
		a.output.fit(cmd.Flags(), a.out, a.quiet)
	}
	return file, nil
}

// sandboxed is the folder of a file of results, which is taken away again when the capture cannot begin.
func (p *page) sandboxed() []sandbox.Folder {
	if p.file == nil {
		return nil
	}
	return []sandbox.Folder{{Path: filepath.Dir(p.file.Name()), Changes: true}}
}

// keep keeps a file of results once something is in it.
func (p *page) keep() {
	if p.file == nil {
		return
	}
	if st, err := p.file.Stat(); err == nil && st.Size() > 0 {
		p.done.Store(true)
		_ = p.file.Close()
	}
}

// whereTo says where the packets of a capture are, for people.
func whereTo(r *capture.Result) string {
	if r.Config.Stream {
		return "to " + toStdout
	}
	return describeFiles(r.Files, r.Blobs)
}
