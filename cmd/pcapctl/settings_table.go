package main

import (
	"strconv"
	"time"

	"github.com/dustin/go-humanize"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/capture/source/live"
	"pcapctl/storage/azblob"
)

// maxSize bounds the sizes that a setting may ask for, in bytes.
const maxSize = 1 << 60

// The settings. Each is defined here and nowhere else: its key, its flag, its
// default, how its value is parsed, and what the shell completes.
// docs/commands.md describes them; a test compares both.
var (
	setCapturesDir = define(settingInfo{
		key: "captures-dir", on: everyCommand, folder: true,
		usage: "the captures folder, under which every capture file lies (default " + capturesDirWords + ")",
	}, anyText)

	setStateDir = define(settingInfo{
		key: "state-dir", on: everyCommand, folder: true,
		usage: "the state folder, where sessions are kept (default " + stateDirWords + ")",
	}, anyText)

	setLogFormat = define(settingInfo{
		key: "log-format", on: everyCommand, choices: logFormats,
		usage: "format of log lines on stderr: text, json (default text)",
	}, oneOf(logFormats))

	setTarget = define(settingInfo{
		key: "target", on: captureCommands, ofRequest: true,
		usage: "resource id of the VM (default: this machine)",
	}, anyText)

	setPerPacket = define(settingInfo{
		key: "bytes-to-capture-per-packet", on: captureCommands, ofRequest: true,
		usage: "`bytes` recorded of each packet, such as 96; 0 is all",
	}, byteCount)

	setTotal = define(settingInfo{
		key: "total-bytes-per-session", on: captureCommands, ofRequest: true,
		usage: "size limit of the file in `bytes`, or such as 10MB; 0 is none (default 1GiB)",
	}, byteCount)

	setTime = define(settingInfo{
		key: "time-limit-in-seconds", on: captureCommands, ofRequest: true,
		usage: "time limit in `seconds`, or such as 10s, 5m; 0 is none (default 5h)",
	}, secondCount)

	setInterface = define(settingInfo{
		key: "interface", on: captureCommands, kind: listFlag, shorthand: "i", complete: completeInterfaces,
		usage: "`interface` to capture on, may be repeated; any is all of them (default: all that are up or come up, without loopback and those whose packets pass another one)",
	}, commaList)

	setPromiscuous = define(settingInfo{
		key: "promiscuous", on: captureCommands, kind: boolFlag, preset: "true",
		usage: "capture frames for other stations, too",
	}, trueOrFalse)

	setICMPErrors = define(settingInfo{
		key: "icmp-errors", on: captureCommands, kind: boolFlag, preset: "true",
		usage: "with filters, record the ICMP errors about their packets, too",
	}, trueOrFalse)

	setNetns = define(settingInfo{
		key: "netns", on: captureCommands | interfacesCommand, linuxOnly: "no other system has network namespaces",
		usage: "network namespace to capture in: a `name` of ip netns, a path, or the id of a process (a container's); files are written here all the same",
	}, anyText)

	setContainer = define(settingInfo{
		key: "container", on: captureCommands | interfacesCommand, linuxOnly: "no other system has containers with network namespaces",
		usage: "container to capture in, by its `name` or the beginning of its id (docker, containerd, podman, CRI-O); files are written here all the same",
	}, anyText)

	setCooked = define(settingInfo{
		key: "cooked", on: captureCommands, choices: []string{cookedSLL2, cookedSLL},
		usage: "cooked header of packets of several interfaces: sll2, which tells the interface, or sll for tools that do not know it (default sll2)",
	}, cookedLink)

	setBufferSize = define(settingInfo{
		key: "buffer-size", on: captureCommands,
		usage: "`size` of the kernel's packet ring, such as 8MiB",
	}, byteSize(live.MinBufferSize, live.MaxBufferSize,
		"a size such as 8MiB, from "+sizeText(live.MinBufferSize)+" to "+sizeText(live.MaxBufferSize)))

	setPacketLimit = define(settingInfo{
		key: "packet-limit", on: captureCommands,
		usage: "end the capture behind this `number` of packets; 0 is no limit",
	}, packetCount)

	setRotateEvery = define(settingInfo{
		key: "rotate-every", on: captureCommands,
		usage: "of a ring of files: begin the next file when this `time` is over, too, such as 15m, 1h, 24h, on the boundaries of the clock in UTC",
	}, partOfDay)

	setFormat = define(settingInfo{
		key: "format", on: captureCommands, choices: []string{request.FormatPcap, request.FormatPcapng},
		usage: "`format` of the file: pcap, pcapng (default: what the extension says, else pcap)",
	}, anyText)

	setPrecision = define(settingInfo{
		key: "timestamp-precision", on: captureCommands, choices: []string{request.PrecisionMicro, request.PrecisionNano},
		usage: "resolution of the times in pcap files: `micro`, nano (default micro; pcapng has nanoseconds)",
	}, anyText)

	setCompress = define(settingInfo{
		key: "compress", on: captureCommands, choices: []string{request.CompressZstd, request.CompressGzip, request.CompressOff},
		usage: "compress the file: `zstd`, gzip, none (default: what the extension says)",
	}, anyText)

	setMinFree = define(settingInfo{
		key: "min-free", on: captureCommands,
		usage: "`size` that stays free on the disk: the capture ends before it would take from it; 0 is none (default 64MiB, none on a disk of less than 6.4 GB)",
	}, diskReserve)

	setOnFile = define(settingInfo{
		key: "on-file", on: captureCommands,
		usage: onFileWords,
	}, anyText)

	setOnFileTimeout = define(settingInfo{
		key: "on-file-timeout", on: captureCommands,
		usage: "how long that may take for one file (default 1m)",
	}, period("30s"))

	setSandbox = define(settingInfo{
		key: "sandbox", on: captureCommands, preset: sandboxAuto, choices: sandboxModes, linuxOnly: "a capture keeps all rights of its user on other systems",
		usage: "`auto`: the kernel lets a running capture do only what it needs; off: it may do what its user may, without capabilities",
	}, oneOf(sandboxModes))

	setContext = define(settingInfo{
		key: "context", on: captureCommands, kind: boolFlag, preset: "false", linuxOnly: "the programs of sockets are looked at on Linux only",
		usage: "write a JSON file beside the capture: which programs had the sockets, and what the machine counted",
	}, trueOrFalse)

	setKeepEnded = define(settingInfo{key: "keep-ended", on: noCommand, preset: "90d"}, keepTime)

	setStorageSuffix = define(settingInfo{key: "storage-suffix", on: noCommand}, anyText)

	setBlobEndpoint = define(settingInfo{key: "blob-endpoint", on: noCommand}, anyText)

	setAuthMode = define(settingInfo{
		key: "auth-mode", on: captureCommands | uploadCommand, choices: authModes,
		usage: "credentials for the blob: `key`, sas, or login (default: the first there is)",
	}, oneOf(authModes))

	setUploadGrace = define(settingInfo{
		key: "upload-grace", on: captureCommands | uploadCommand,
		usage: "how long an upload may go without progress once the capture has ended (default 5m)",
	}, period("5m"))

	setSpoolDir = define(settingInfo{
		key: "spool-dir", on: captureCommands | uploadCommand, folder: true,
		usage: "`folder` for the file of a capture that goes to a blob only (default: .spool in the state folder)",
	}, anyText)

	setSpoolSize = define(settingInfo{
		key: "spool-size", on: captureCommands | uploadCommand,
		usage: "`size` up to which such a file stays on the disk although it was sent (default 1GiB)",
	}, byteSize(1, maxSize, "a size such as 1GiB"))
)

var authModes = []string{string(azblob.AuthKey), string(azblob.AuthSAS), string(azblob.AuthLogin)}

var sandboxModes = []string{sandboxAuto, sandboxOff}

// keepTime parses how long records of ended sessions are kept, 0 for ever.
func keepTime(text string) (time.Duration, error) {
	if text == "never" {
		return 0, nil
	}
	d, err := durationOf(text)
	if err != nil || d < 0 {
		return 0, notAllowed(text, "a duration such as 30d, or never for records that do not go by themselves")
	}
	return d, nil
}

// packetCount parses a number of packets, 0 for no limit.
func packetCount(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, notAllowed(text, "0 (no limit) or a number of packets")
	}
	return n, nil
}

// partOfDay parses a duration into seconds. Which are allowed the request knows.
func partOfDay(text string) (seconds int64, err error) {
	d, err := durationOf(text)
	if err != nil || d < time.Second || d%time.Second != 0 {
		return 0, notAllowed(text, "a part of a day, such as 15m, 1h or 24h")
	}
	return int64(d / time.Second), nil
}

const (
	cookedSLL2 = "sll2"
	cookedSLL  = "sll"
)

// cookedLink parses the name of a cooked header.
func cookedLink(text string) (pcapfile.LinkType, error) {
	switch text {
	case cookedSLL:
		return pcapfile.SLL, nil
	case cookedSLL2:
		return pcapfile.SLL2, nil
	}
	return 0, notAllowed(text, "%s, %s", cookedSLL2, cookedSLL)
}

// diskReserve parses the size that stays free on the disk. A pointer tells 0,
// which is no reserve, from the default.
func diskReserve(text string) (*int64, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > maxSize || n > 0 && n < save.MinMinFree {
		return nil, notAllowed(text, "0 (none) or a size such as 64MiB, from %s on", sizeText(save.MinMinFree))
	}
	return new(int64(n)), nil
}
