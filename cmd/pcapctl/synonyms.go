package main

// What other tools call what pcapctl has under another name. These are not near by
// their letters, so that didYouMean does not find them.

var commandSynonyms = map[string]string{
	"start": "create", "capture": "create", "run": "create", "record": "create", "new": "create", "sniff": "create",
	"check": "validate", "test": "validate", "plan": "validate",
	"ls": "list", "ps": "list", "sessions": "list",
	"info": "show", "get": "show", "describe": "show",
	"status": "show-status", "stats": "show-status", "progress": "show-status",
	"kill": "stop", "end": "stop", "abort": "stop",
	"rm": "delete", "remove": "delete", "del": "delete", "clean": "delete --ended", "prune": "delete --ended", "purge": "delete --ended",
	"ifaces": "interfaces", "devices": "interfaces", "links": "interfaces", "nics": "interfaces",
	"push": "upload", "send": "upload", "resume": "upload",
	"join": "wait",
}

// flagSynonyms are in the letters of tcpdump and dumpcap, and in words.
var flagSynonyms = map[string]string{
	"w": "--file-path", "write": "--file-path", "output-file": "--file-path", "out": "--file-path",
	"r": "--read-file", "read": "--read-file",
	"c": "--packet-limit", "count": "--packet-limit", "packets": "--packet-limit", "limit": "--packet-limit",
	"s": "--capture-size", "snaplen": "--capture-size", "snapshot-length": "--capture-size",
	"G": "--time-limit, or --rotate-every for a ring of files", "duration": "--time-limit", "timeout": "--time-limit", "a": "--time-limit or --capture-limit",
	"C": "--capture-limit", "filesize": "--capture-limit", "size": "--capture-limit",
	"W": "--continuous-capture with --capture-settings file-count=…", "b": "--continuous-capture with --capture-settings",
	"z": "--on-file", "p": "--promiscuous=false", "D": "`pcapctl interfaces`", "list-interfaces": "`pcapctl interfaces`",
	"B": "--buffer-size", "Z": "no flag: run pcapctl as the user it shall run as", "d": "`pcapctl validate --show-program`",
	"V": "`pcapctl version`", "version": "`pcapctl version`", "v": "--verbose",
	"dst": "--host, or --filter 'remoteIPAddress=…'", "src": "--host, or --filter 'localIPAddress=…'", "ip": "--host", "address": "--host",
	"protocol": "--filter 'protocol=…'", "iface": "--interface", "dev": "--interface", "device": "--interface",
	"background": "--no-wait", "detach": "--no-wait", "daemon": "--no-wait",
	"silent": "--quiet", "force": "no flag: nothing is ever overwritten", "overwrite": "no flag: nothing is ever overwritten",
}

// flagsOfInspect are what else is written where inspect takes its files as arguments.
var flagsOfInspect = map[string]string{
	"r": "an argument: inspect FILE", "read": "an argument: inspect FILE", "read-file": "an argument: inspect FILE",
	"f": "an argument: inspect FILE", "file": "an argument: inspect FILE", "n": "an argument: inspect NAME", "name": "an argument: inspect NAME",
	"w": "--html, for a page", "write": "--html, for a page", "Y": "--filter", "c": "--top, for the entries of a table",
}

// synonym is a hint at what an unknown name is called here, "" when it is not known
// elsewhere.
func synonym(of map[string]string, given string) string {
	if here, ok := of[given]; ok {
		return "; here it is " + here
	}
	return ""
}
