// Command pcapctl captures packets on this machine as Azure Network Watcher
// does on a VM: the same request, the same limits and filters, a .cap file.
package main

import (
	"os"

	"pcapctl/storage"
)

func main() {
	keepMemory()
	if storage.GuardMain() {
		return
	}
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
