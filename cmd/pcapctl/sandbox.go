package main

import (
	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/hostcontext"
	"pcapctl/capture/netif"
	"pcapctl/capture/sandbox"
	"pcapctl/capture/save"
	"pcapctl/storage"
)

// The values of --sandbox.
const (
	sandboxAuto = "auto"
	sandboxOff  = "off"
)

// beHelper is the program when it was started by itself, as one of the processes
// that help a capture. It is false for every other start.
func beHelper() bool {
	sandbox.KeepDescriptors()
	// What a helper cannot give up changes nothing of what it is there for.
	switch {
	case storage.IsGuard():
		_ = sandbox.Guard()
		storage.GuardMain()
	case save.IsHook():
		_ = sandbox.StartCommands()
		save.HookMain()
	case netif.IsFollower():
		_ = sandbox.LookAtOthers()
		netif.FollowMain()
	case hostcontext.IsHelper():
		hostcontext.Main(sandbox.Observe)
	default:
		return false
	}
	return true
}

// mayConfine has a session give up what it does not need, where the process is its
// own.
func (a *app) mayConfine(o *capture.Options, s sessionSettings) {
	if a.ownProcess && sandbox.Supported {
		o.Confine = s.confine
	}
}

// confineReader gives up everything but what is open, before a command that only reads
// looks at what others have chosen. Of the folders it may remove a file that it has made.
func (a *app) confineReader(folders ...string) error {
	if !a.ownProcess {
		return nil
	}
	if !sandbox.Supported {
		a.explainNoSandbox()
		return nil
	}
	mode, err := setSandbox.value(&a.settings)
	if err != nil {
		return err
	}
	level, err := sandbox.Enter(sandbox.Policy{Off: mode == sandboxOff, Discards: folders})
	if err != nil {
		return fault.Errorf(fault.Internal, "%w", err)
	}
	if a.verbose || a.debug {
		a.say("sandbox: %s", level)
	}
	return nil
}

// confine is capture.Options.Confine.
func (o sessionSettings) confine(p sandbox.Policy) (sandbox.Level, error) {
	p.Off = o.Sandbox == sandboxOff
	return sandbox.Enter(p)
}

// expect is what confine would reach.
func (o sessionSettings) expect(p sandbox.Policy) sandbox.Level {
	p.Off = o.Sandbox == sandboxOff
	return sandbox.Expect(p)
}

// stateFolders are the folders that the record of a session is kept in.
func (o *order) stateFolders() []sandbox.Folder {
	if o.noStateDir != nil {
		return nil
	}
	return []sandbox.Folder{{Path: o.StateDir, Changes: true}}
}

// explainNoSandbox says that there is none, for --verbose.
func (a *app) explainNoSandbox() {
	if a.verbose || a.debug {
		a.say("sandbox: none, there is one on Linux only: the process keeps all rights of its user")
	}
}

// explainSandbox says what a capture has given up, for --verbose.
func (a *app) explainSandbox(s *capture.Session) {
	if !sandbox.Supported {
		a.explainNoSandbox()
		return
	}
	if l := s.Sandbox(); l != nil && (a.verbose || a.debug) {
		a.say("sandbox: %s", l)
	}
}

// expectSandbox says what a capture would give up, for --verbose.
func (a *app) expectSandbox(p *capture.Plan, o sessionSettings, folders []sandbox.Folder) error {
	if !a.verbose && !a.debug {
		return nil
	}
	if !sandbox.Supported {
		a.explainNoSandbox()
		return nil
	}
	l, err := p.Confinement(o.expect, folders)
	if err == nil {
		a.say("sandbox: %s", l)
	}
	return err
}
