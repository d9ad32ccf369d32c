//go:build !linux

// Command bench compares pcapctl with tcpdump and dumpcap, on Linux.
package main

func main() { println("bench: packets are only captured on Linux") }
