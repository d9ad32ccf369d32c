//go:build !linux

// Command winerun runs a test program for Windows by Wine, on Linux.
package main

import "log"

func main() {
	log.Fatal("winerun: Wine is run on Linux only")
}
