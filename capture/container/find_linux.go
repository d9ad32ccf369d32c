package container

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"pcapctl/capture/caller"
)

// Bounds of what is read of a runtime.
const (
	maxFile       = 1 << 20  // bytes of a file about one container
	maxIndex      = 16 << 20 // and about all of a store
	maxContainers = 10_000   // of a place
)

// known is a container as its runtime knows it. Another process may have its id by
// now.
type known struct {
	id, runtime string
	names       []string
	pid         int
	start       uint64    // of the process, 0 where the runtime does not write it down
	written     time.Time // when the process was running already
}

func (k *known) String() string { return describe(k.names, k.runtime, k.id) }

// looked is what a search has found.
type looked struct {
	by     map[string]*known // by id
	at     []string          // places, with how many containers each has
	denied error             // the first thing that this user may not look at
}

// search looks at all places. The cgroups of processes are looked at last, for a
// container of which no runtime tells the process.
func search(name string, p Places) *looked {
	l := &looked{by: map[string]*known{}}
	for _, place := range []struct {
		folders []string
		read    func(folder, id string)
	}{
		{p.Stores, nil}, {p.Bundles, l.bundle}, {p.Docker, l.docker}, {p.States, l.state},
	} {
		for _, folder := range place.folders {
			if place.read == nil {
				l.store(folder)
				continue
			}
			l.each(folder, func(id string) { place.read(folder, id) })
		}
	}
	for _, folder := range p.Tasks {
		l.each(folder, func(namespace string) {
			l.each(filepath.Join(folder, namespace), func(id string) { l.task(filepath.Join(folder, namespace, id), id) })
		})
	}
	found := l.matching(name)
	if !slices.ContainsFunc(found, func(k *known) bool { return k.pid != 0 }) && (len(found) > 0 || isHex(name) && len(name) >= leastPrefix) {
		l.cgroups(p)
	}
	return l
}

// of is the container of an id, which the caller has come by.
func (l *looked) of(id, runtime string) *known {
	k := l.by[id]
	if k == nil {
		k = &known{id: id, runtime: runtime}
		l.by[id] = k
	}
	return k
}

// each calls do for every entry of a folder.
func (l *looked) each(folder string, do func(name string)) {
	dir, err := os.Open(folder)
	if err != nil {
		l.failed(err)
		return
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(maxContainers)
	slices.Sort(names)
	l.at = append(l.at, fmt.Sprintf("%s (%d)", folder, len(names)))
	for _, name := range names {
		do(name)
	}
}

func (l *looked) failed(err error) {
	if l.denied == nil && (errors.Is(err, fs.ErrPermission) || errors.Is(err, caller.ErrUntrusted)) {
		l.denied = err
	}
}

// read reads a file of a runtime. Others could have root enter the namespace of a
// process of theirs by such a file: it is believed only where root alone can have
// written it. It is nil for a file that is not there.
func (l *looked) read(path string, most int64) (text []byte, written time.Time) {
	f, err := caller.OpenTrusted(path)
	if err != nil {
		l.failed(err)
		return nil, time.Time{}
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || st.Size() > most {
		return nil, time.Time{}
	}
	text, err = io.ReadAll(io.LimitReader(f, most))
	if err != nil {
		return nil, time.Time{}
	}
	return text, st.ModTime()
}

func (l *looked) readJSON(path string, most int64, into any) (written time.Time, ok bool) {
	text, written := l.read(path, most)
	return written, text != nil && json.Unmarshal(text, into) == nil
}

// readPID reads a file that holds the id of a process.
func (l *looked) readPID(path string) (pid int, written time.Time) {
	text, written := l.read(path, maxFile)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid < 1 {
		return 0, time.Time{}
	}
	return pid, written
}

// runs notes the process of a container.
func (k *known) runs(pid int, start uint64, written time.Time) {
	if pid > 0 && (k.pid == 0 || start != 0) {
		k.pid, k.start, k.written = pid, start, written
	}
}

func (k *known) named(names ...string) {
	for _, name := range names {
		if name != "" && len(name) <= maxName && !slices.Contains(k.names, name) {
			k.names = append(k.names, name)
		}
	}
}

// docker reads config.v2.json of docker, in which names begin with a slash.
func (l *looked) docker(folder, id string) {
	var config struct {
		Name  string
		State struct {
			Running bool
			Pid     int
		}
	}
	written, ok := l.readJSON(filepath.Join(folder, id, "config.v2.json"), maxFile, &config)
	if !ok {
		return
	}
	k := l.of(id, "docker")
	k.runtime = "docker" // containerd, which runs it, knows it as well
	k.named(strings.TrimPrefix(config.Name, "/"))
	if config.State.Running {
		k.runs(config.State.Pid, 0, written)
	}
}

// spec is what is needed of an OCI runtime specification.
type spec struct {
	Annotations map[string]string `json:"annotations"`
}

// names are those that Kubernetes or a client of containerd has given.
func (s *spec) names() []string {
	var labels map[string]string // those of Kubernetes, which CRI-O keeps as one text
	_ = json.Unmarshal([]byte(s.Annotations["io.kubernetes.cri-o.Labels"]), &labels)
	first := func(keys ...string) string {
		for _, key := range keys {
			if v := cmp.Or(s.Annotations[key], labels[key]); v != "" {
				return v
			}
		}
		return ""
	}
	container := first("io.kubernetes.cri.container-name", "io.kubernetes.container.name")
	pod := first("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name", "io.kubernetes.cri-o.KubeName")
	namespace := first("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace", "io.kubernetes.cri-o.Namespace")
	if container == "POD" { // CRI-O calls the one that holds a pod's namespaces so
		container = ""
	}
	names := []string{first("nerdctl/name"), container, pod}
	if pod != "" && container != "" {
		names = append(names, pod+"/"+container)
	}
	if namespace != "" {
		for _, name := range names[2:] {
			if name != "" {
				names = append(names, namespace+"/"+name)
			}
		}
	}
	return names
}

// task reads what containerd has of a container that runs.
func (l *looked) task(bundle, id string) {
	pid, written := l.readPID(filepath.Join(bundle, "init.pid"))
	if pid == 0 {
		return
	}
	k := l.of(id, "containerd")
	k.runs(pid, 0, written)
	var s spec
	if _, ok := l.readJSON(filepath.Join(bundle, "config.json"), maxFile, &s); ok {
		k.named(s.names()...)
	}
}

// bundle reads what podman and CRI-O have of a container that runs. Their names are in
// the store, but for those of Kubernetes.
func (l *looked) bundle(folder, id string) {
	pid, written := l.readPID(filepath.Join(folder, id, "userdata", "pidfile"))
	if pid == 0 {
		return
	}
	k := l.of(id, "podman")
	k.runs(pid, 0, written)
	var s spec
	if _, ok := l.readJSON(filepath.Join(folder, id, "userdata", "config.json"), maxFile, &s); ok {
		if names := s.names(); strings.Join(names, "") != "" {
			k.runtime = "cri-o"
			k.named(names...)
		}
	}
}

// store reads the lists of containers of containers/storage, the second of those that
// go with a reboot.
func (l *looked) store(folder string) {
	for _, name := range []string{"containers.json", "volatile-containers.json"} {
		var list []struct {
			ID    string   `json:"id"`
			Names []string `json:"names"`
		}
		if _, ok := l.readJSON(filepath.Join(folder, name), maxIndex, &list); !ok {
			continue
		}
		l.at = append(l.at, fmt.Sprintf("%s (%d)", filepath.Join(folder, name), len(list)))
		for _, c := range list[:min(len(list), maxContainers)] {
			if isHex(c.ID) {
				l.of(c.ID, "podman").named(c.Names...)
			}
		}
	}
}

// state reads what runc or crun has of a container. They alone write down when its
// process began.
func (l *looked) state(folder, id string) {
	var runc struct {
		PID   int    `json:"init_process_pid"`
		Start uint64 `json:"init_process_start"`
	}
	if written, ok := l.readJSON(filepath.Join(folder, id, "state.json"), maxFile, &runc); ok {
		l.of(id, "runc").runs(runc.PID, runc.Start, written)
		return
	}
	var crun struct {
		PID   int    `json:"pid"`
		Start uint64 `json:"process-start-time"`
	}
	if written, ok := l.readJSON(filepath.Join(folder, id, "status"), maxFile, &crun); ok {
		l.of(id, "crun").runs(crun.PID, crun.Start, written)
	}
}

// matching are the containers of a name, as docker looks for them: the whole id, the
// whole name, the beginning of an id.
func (l *looked) matching(name string) []*known {
	if k := l.by[name]; k != nil {
		return []*known{k}
	}
	var byName, byID []*known
	for _, id := range sortedKeys(l.by) {
		switch k := l.by[id]; {
		case slices.Contains(k.names, name):
			byName = append(byName, k)
		case len(name) >= leastPrefix && isHex(name) && strings.HasPrefix(id, name):
			byID = append(byID, k)
		}
	}
	if byName != nil {
		return byName
	}
	return byID
}

func sortedKeys(m map[string]*known) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// places says where was looked, and how many containers are there.
func (l *looked) places() string {
	if len(l.at) == 0 {
		return "the folders of docker, containerd, podman, CRI-O, runc and crun, of which none is there, and at the cgroups of processes"
	}
	return strings.Join(l.at[:min(len(l.at), maxListed)], ", ") + " and the cgroups of processes"
}

// suggestion names some of those that there are.
func (l *looked) suggestion() string {
	var list []*known
	for _, id := range sortedKeys(l.by) {
		if k := l.by[id]; k.pid != 0 {
			list = append(list, k)
		}
	}
	if list == nil {
		return ""
	}
	return "; there are: " + listed(list)
}

// startSlack is how much earlier a file may seem to be than the process it tells of:
// the start of a process is known to a clock tick, and the wall clock may have been set.
const startSlack = 2 * time.Second

// running is the container, if its process is the one that the runtime has started.
// The process is the runtime's when it began when the runtime says, its cgroup is the
// container's, or it was there before the file that names it.
func (k *known) running(p Places) *Container {
	if k.pid == 0 {
		return nil
	}
	proc := filepath.Join(p.Proc, strconv.Itoa(k.pid))
	start, err := startOf(proc)
	if err != nil {
		return nil
	}
	switch {
	case k.start != 0:
		if start != k.start {
			return nil
		}
	case slices.Contains(cgroupIDs(proc), k.id):
	case !began(start).Before(k.written.Add(startSlack)):
		return nil
	}
	network, err := os.Readlink(filepath.Join(proc, "ns", "net"))
	if err != nil {
		return nil
	}
	if again, err := startOf(proc); err != nil || again != start {
		return nil // the id went to another process meanwhile
	}
	return &Container{ID: k.id, Names: k.names, Runtime: k.runtime, PID: k.pid, Start: start, network: network}
}

// startOf is when a process began, in clock ticks since the boot. proc_pid_stat(5): the
// name of its program stands in brackets and may hold any character.
func startOf(proc string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return 0, err
	}
	const field, behindName = 22, 3
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) <= field-behindName {
		return 0, syscall.EINVAL
	}
	return strconv.ParseUint(f[field-behindName], 10, 64)
}

// ticksPerSecond is USER_HZ, the same on every architecture of ours.
const ticksPerSecond = 100

// began is that as a time of the wall clock.
func began(start uint64) time.Time {
	var up syscall.Sysinfo_t
	if syscall.Sysinfo(&up) != nil {
		return time.Time{}
	}
	boot := time.Now().Add(-time.Duration(up.Uptime) * time.Second)
	return boot.Add(time.Duration(start) * (time.Second / ticksPerSecond))
}

// cgroupIDs are the ids that stand in the cgroups of a process.
func cgroupIDs(proc string) (ids []string) {
	for _, c := range cgroupsOf(proc) {
		ids = append(ids, c.id)
	}
	return ids
}

// OfProcess is the id of the container that a process is in by its cgroup, "" for none.
// proc is its folder in /proc, cgroups that of the cgroups. ofRoot is false where somebody else may have given the cgroup
// its name, which may then be that of any container.
func OfProcess(proc, cgroups string) (id string, ofRoot bool) {
	for _, c := range cgroupsOf(proc) {
		return c.id, c.ofRoot(cgroups)
	}
	return "", false
}

// Describe names the container of an id: its name, runtime and id, or the id where no
// runtime knows more.
func Describe(id string, p Places) string {
	l := search("", p)
	if k := l.by[id]; k != nil {
		return k.String()
	}
	return id[:min(len(id), shortID)]
}

// cgroup is one of a container.
type cgroup struct {
	id         string
	controller string // "" for version 2
	path       string
}

// cgroupsOf finds the cgroups of a process that are named after a container:
// docker-ID.scope, cri-containerd-ID.scope, crio-ID.scope, libpod-ID.scope, or ID.
func cgroupsOf(proc string) (list []cgroup) {
	f, err := os.Open(filepath.Join(proc, "cgroup"))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	text, _ := io.ReadAll(io.LimitReader(f, maxFile))
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		path := parts[2]
		for at := path; at != "/" && at != "." && at != ""; at = filepath.Dir(at) {
			if id := idIn(filepath.Base(at)); id != "" {
				list = append(list, cgroup{id, strings.TrimPrefix(parts[1], "name="), at})
				break
			}
		}
	}
	return list
}

// idIn is the id in the name of a cgroup, "" when there is none.
func idIn(name string) string {
	const length = 64
	name = strings.TrimSuffix(name, ".scope")
	if at := strings.LastIndexAny(name, "-:"); at >= 0 {
		name = name[at+1:]
	}
	if len(name) == length && isHex(name) {
		return name
	}
	return ""
}

// cgroups finds containers by the cgroups of processes. Anybody to whom a part of the
// tree was given can name a cgroup as he likes: only those of root are believed.
func (l *looked) cgroups(p Places) {
	dir, err := os.Open(p.Proc)
	if err != nil {
		return
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		proc := filepath.Join(p.Proc, name)
		for _, c := range cgroupsOf(proc) {
			start, err := startOf(proc)
			if err != nil || !c.ofRoot(p.Cgroups) {
				continue
			}
			// The first process of a container is the one that began first.
			if k := l.of(c.id, "cgroup"); k.pid == 0 || cmp.Or(cmp.Compare(start, k.start), cmp.Compare(pid, k.pid)) < 0 {
				k.pid, k.start = pid, start
			}
		}
	}
}

// ofRoot tells whether nobody but root can have made the cgroup.
func (c *cgroup) ofRoot(root string) bool {
	places := []string{filepath.Join(root, c.controller, c.path)}
	if c.controller == "" {
		places = []string{filepath.Join(root, c.path), filepath.Join(root, "unified", c.path)}
	}
	for _, path := range places {
		if st, err := os.Lstat(path); err == nil {
			sys, ok := st.Sys().(*syscall.Stat_t)
			return ok && st.IsDir() && sys.Uid == 0 && st.Mode().Perm()&0o022 == 0
		}
	}
	return false
}
