//go:build !windows

package main

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

// The words of help and messages that name places and shells of this system.
const (
	capturesDirWords = "/var/captures"
	stateDirWords    = "/var/lib/pcapctl for root, pcapctl in $XDG_STATE_HOME for others"
	configFileWords  = "pcapctl/config.yaml in the user's configuration folder, then /etc/pcapctl/config.yaml"
	asRootWords      = "as root"
	onFileWords      = "`command` that sh runs for every finished file, which is $PCAPCTL_FILE"
)

// machineConfig is the path of the machine's own configuration file.
func machineConfig() string { return "/etc/pcapctl/config.yaml" }

// localExample is an example of the help as it is written on this system.
func localExample(text string) string { return text }

// readCommand shows the packets of a capture file.
func readCommand(path string, sudo bool) string {
	word, as := shellWord(path), ""
	if sudo {
		as = "sudo "
	}
	switch {
	case strings.HasSuffix(strings.ToLower(path), request.Compressions[request.CompressZstd]):
		return as + "zstdcat " + word + " | tcpdump -nr -"
	case strings.HasSuffix(strings.ToLower(path), request.Compressions[request.CompressGzip]):
		return as + "zcat " + word + " | tcpdump -nr -"
	}
	return as + "tcpdump -nr " + word
}

// shellWord quotes a text for a shell where it needs that.
func shellWord(text string) string {
	safe := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:,@%", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !safe(r) }) < 0 {
		return text
	}
	if strings.ContainsFunc(text, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return fault.Quote(text) // not for a shell any more, and not for the terminal to obey
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// checkDrive finds nothing: every folder may have captures.
func checkDrive(string) error { return nil }

// isBelowFile tells whether a path is that of a file, or lies below one.
func isBelowFile(path string) bool {
	st, err := os.Stat(path)
	return errors.Is(err, syscall.ENOTDIR) || err == nil && !st.IsDir()
}

// isElsewhere tells of a path that looks absolute to a shell or to another system.
func isElsewhere(path string) bool {
	return strings.HasPrefix(path, "~") || strings.ContainsAny(path, `\:`)
}
