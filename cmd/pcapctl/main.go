// Command pcapctl captures packets on this machine as Azure Network Watcher
// does on a VM: the same request, the same limits and filters, a .cap file.
package main

import "os"

func main() {
	keepMemory()
	if beHelper() {
		return
	}
	a := &app{args: os.Args[1:], in: os.Stdin, out: os.Stdout, err: os.Stderr, ownProcess: true}
	os.Exit(a.runAsStarted())
}
