// Package container finds the network namespace of a container by its name or id, by
// what the container runtimes leave on this machine. It speaks to none of them.
package container

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"pcapctl/capture/fault"
)

// Container is one whose first process runs.
type Container struct {
	ID string
	// Names are those by which it is found; of Kubernetes "container", "pod",
	// "pod/container" and both with the namespace before them.
	Names   []string
	Runtime string // docker, containerd, podman, cri-o, runc or crun; "cgroup" where only that tells
	PID     int    // of its first process
	Start   uint64 // when that began, in clock ticks since the boot: field 22 of proc_pid_stat(5)

	network string // its network namespace, "net:[inode]"
}

// Netns is its network namespace as netif.In takes it. It is not that of another
// process which has the id by then.
func (c *Container) Netns() string { return fmt.Sprintf("%d@%d", c.PID, c.Start) }

// String names it for people: "web (podman, 495de467d82f)".
func (c *Container) String() string { return describe(c.Names, c.Runtime, c.ID) }

// shortID is how many digits of an id are shown, as docker does it.
const shortID = 12

func describe(names []string, runtime, id string) string {
	if len(id) > shortID && isHex(id) {
		id = id[:shortID]
	}
	if len(names) == 0 {
		return fmt.Sprintf("%s (%s)", fault.Visible(id), runtime)
	}
	// The last one is the longest: of Kubernetes it has the namespace and the pod.
	return fmt.Sprintf("%s (%s, %s)", fault.Visible(names[len(names)-1]), runtime, fault.Visible(id))
}

// leastPrefix is how many digits of an id are enough to find a container.
const leastPrefix = 4

// maxName bounds the name of a container, in bytes.
const maxName = 512

// Find finds the container that has the name, the id, or an id that begins so (four
// hexadecimal digits or more). Those of several containers in one network namespace,
// as of a pod, are one answer.
//
// Error classes: NotFound (no such container, or it does not run), Invalid (several),
// Forbidden (this user may not look at containers).
func Find(name string, p Places) (*Container, error) {
	if name == "" || len(name) > maxName {
		return nil, invalid("%s is not a valid name of a container: write its name, or four digits of its id or more", fault.Quote(name[:min(len(name), maxName)]))
	}
	look := search(name, p)
	found := look.matching(name)
	var running []*Container
	var stopped []*known
	for _, k := range found {
		if c := k.running(p); c != nil {
			running = append(running, c)
		} else {
			stopped = append(stopped, k)
		}
	}
	slices.SortFunc(running, func(a, b *Container) int { return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.ID, b.ID)) })
	switch networks := networksOf(running); {
	case networks == 1:
		return running[0], nil
	case networks > 1:
		return nil, invalid("%s is not one container: %s; give more digits of the id, or a longer name", fault.Quote(name), listed(running))
	case len(stopped) > 0:
		k := stopped[0]
		return nil, fault.Errorf(fault.NotFound, "the container %s does not run: start it first", describe(k.names, k.runtime, k.id))
	case look.denied != nil:
		return nil, fault.Errorf(fault.Forbidden, "no container %s was found, and not everything could be looked at: %w; the files of container runtimes belong to root, and root may read them", fault.Quote(name), look.denied)
	}
	return nil, fault.Errorf(fault.NotFound, "there is no container %s; looked at %s%s", fault.Quote(name), look.places(), look.suggestion())
}

func invalid(format string, args ...any) error {
	return &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "--container", Message: fmt.Sprintf(format, args...)}
}

func networksOf(list []*Container) int {
	seen := map[string]bool{}
	for _, c := range list {
		seen[c.network] = true
	}
	return len(seen)
}

// maxListed bounds the containers that a message names.
const maxListed = 8

func listed[T fmt.Stringer](list []T) string {
	texts := make([]string, 0, maxListed)
	for _, c := range list[:min(len(list), maxListed)] {
		texts = append(texts, c.String())
	}
	if more := len(list) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(texts, ", ")
}

// isHex tells what may be an id, or the beginning of one.
func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

// Places are where runtimes leave what they know, folders all of them.
type Places struct {
	Docker  []string // of docker's containers, by their ids
	Tasks   []string // of containerd's: its namespaces, and ids below them
	Bundles []string // of podman's and CRI-O's running containers
	Stores  []string // of all their containers, with containers.json
	States  []string // of runc's and crun's containers
	Proc    string
	Cgroups string
}

// ThisMachine are the places where the runtimes have them unless told otherwise.
func ThisMachine() Places {
	return Places{
		Docker:  []string{"/var/lib/docker/containers", "/var/snap/docker/common/var-lib-docker/containers"},
		Tasks:   []string{"/run/containerd/io.containerd.runtime.v2.task", "/run/k3s/containerd/io.containerd.runtime.v2.task"},
		Bundles: []string{"/run/containers/storage/overlay-containers"},
		Stores:  []string{"/var/lib/containers/storage/overlay-containers"},
		States: []string{
			"/run/crun", "/run/runc", "/run/docker/runtime-runc/moby", "/run/containerd/runc/k8s.io", "/run/containerd/runc/default", "/run/k3s/containerd/runc/k8s.io",
		},
		Proc:    "/proc",
		Cgroups: "/sys/fs/cgroup",
	}
}
