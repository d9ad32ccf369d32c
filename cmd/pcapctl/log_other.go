//go:build !linux

package main

func isJournal(any) bool { return false }
