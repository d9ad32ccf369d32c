//go:build !windows

package main

// runAsStarted runs the program: a service manager is nothing special here.
func (a *app) runAsStarted() int { return a.run() }
