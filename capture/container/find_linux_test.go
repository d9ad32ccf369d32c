package container_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pcapctl/capture/container"
	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/testnet"
)

// machine is a faked tree of what runtimes leave, about real processes.
type machine struct {
	t      *testing.T
	dir    string
	places container.Places
}

func newMachine(t *testing.T) *machine {
	testnet.Need(t, "ip")
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	return &machine{t, dir, container.Places{
		Docker: []string{at("docker")}, Tasks: []string{at("tasks")}, Bundles: []string{at("bundles")}, Stores: []string{at("stores")},
		States: []string{at("crun"), at("runc")}, Proc: "/proc", Cgroups: "/sys/fs/cgroup",
	}}
}

// write makes a file of a runtime, and gives its path.
func (m *machine) write(name, text string) string {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	return path
}

func (m *machine) writeJSON(name string, v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		m.t.Fatal(err)
	}
	return m.write(name, string(text))
}

type object = map[string]any

func (m *machine) docker(id, name string, pid int) string {
	return m.writeJSON("docker/"+id+"/config.v2.json", object{"ID": id, "Name": "/" + name, "State": object{"Running": pid != 0, "Pid": pid}})
}

func (m *machine) kubernetes(id, namespace, pod, name string, pid int) {
	m.write("tasks/k8s.io/"+id+"/init.pid", strconv.Itoa(pid))
	a := object{"io.kubernetes.cri.sandbox-name": pod, "io.kubernetes.cri.sandbox-namespace": namespace}
	if name != "" {
		a["io.kubernetes.cri.container-name"] = name
	}
	m.writeJSON("tasks/k8s.io/"+id+"/config.json", object{"annotations": a})
}

// process starts a process in a namespace, and gives its id and when it began.
func process(t *testing.T, ns *testnet.NS) (pid int, start string) {
	t.Helper()
	cmd := exec.Command("sleep", "600")
	var err error
	ns.Do(func() { err = cmd.Start() })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, strings.Fields(string(stat))[21]
}

func id(digits string) string { return digits + strings.Repeat("0", 64-len(digits)) }

func TestContainersAreFound(t *testing.T) {
	m := newMachine(t)
	a, b, c := testnet.New(t), testnet.New(t), testnet.New(t)
	pa, _ := process(t, a)
	pb, _ := process(t, b)
	pc, startC := process(t, c)
	pc2, _ := process(t, c)
	m.docker(id("aaaa1"), "web", pa)
	m.write("tasks/moby/"+id("aaaa1")+"/init.pid", strconv.Itoa(pa)) // as docker's containerd has it
	m.docker(id("aaaa2"), "db", pb)
	m.docker(id("dddd"), "off", 0)
	m.kubernetes(id("b1"), "shop", "cart-5d8f", "", pb)
	m.kubernetes(id("b2"), "shop", "cart-5d8f", "proxy", pb)
	m.kubernetes(id("b3"), "bank", "cart-5d8f", "proxy", pa)
	m.writeJSON("stores/containers.json", []object{{"id": id("c1"), "names": []string{"cache"}}, {"id": id("c2"), "names": []string{"gone"}}})
	m.write("bundles/"+id("c1")+"/userdata/pidfile", strconv.Itoa(pc2))
	m.writeJSON("bundles/"+id("c3")+"/userdata/config.json", object{"annotations": object{
		"io.kubernetes.cri-o.KubeName": "crio-pod", "io.kubernetes.cri-o.Labels": `{"io.kubernetes.container.name":"app","io.kubernetes.pod.namespace":"ns"}`,
	}})
	m.write("bundles/"+id("c3")+"/userdata/pidfile", strconv.Itoa(pc))
	start, _ := strconv.ParseUint(startC, 10, 64)
	m.writeJSON("crun/plain/status", object{"pid": pc, "process-start-time": start})
	m.writeJSON("runc/older/state.json", object{"init_process_pid": pc, "init_process_start": start - 1})

	for _, test := range []struct {
		name, is string
		class    fault.Class
		says     string
	}{
		{name: "web", is: a.Name},
		{name: id("aaaa1"), is: a.Name},
		{name: "aaaa1", is: a.Name},
		{name: "aaaa2", is: b.Name},
		{name: "cart-5d8f/proxy", class: fault.Invalid, says: "bank/cart-5d8f/proxy (containerd, b30000000000)"},
		{name: "shop/cart-5d8f/proxy", is: b.Name},
		{name: "shop/cart-5d8f", is: b.Name}, // two containers, one namespace
		{name: "bank/cart-5d8f", is: a.Name},
		{name: "proxy", class: fault.Invalid, says: "shop/cart-5d8f/proxy (containerd, b20000000000)"},
		{name: "cache", is: c.Name},
		{name: "crio-pod/app", is: c.Name},
		{name: "ns/crio-pod", is: c.Name},
		{name: "plain", is: c.Name},
		{name: "older", class: fault.NotFound, says: "does not run"}, // the id of the process is another's now
		{name: "off", class: fault.NotFound, says: "does not run"},
		{name: "gone", class: fault.NotFound, says: "does not run"},
		{name: "aaaa", class: fault.Invalid, says: "web (docker, aaaa10000000), db (docker, aaaa20000000)"},
		{name: "aaa", class: fault.NotFound, says: m.dir + "/docker (3)"},
		{name: "nosuch", class: fault.NotFound, says: "web (docker, aaaa10000000)"},
		{name: "", class: fault.Invalid},
		{name: strings.Repeat("x", 1000), class: fault.Invalid},
		{name: "no\x1b[31m", class: fault.NotFound, says: `no\x1b[31m`},
	} {
		found, err := container.Find(test.name, m.places)
		if test.is == "" {
			if err == nil || fault.ClassOf(err) != test.class || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%q: %v, error %v; want class %v and %q", test.name, found, err, test.class, test.says)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", test.name, err)
			continue
		}
		if got, want := inode(t, found.Netns()), inode(t, test.is); got != want {
			t.Errorf("%q is %s in namespace %s; want that of %s, %s", test.name, found, got, test.is, want)
		}
	}
}

// inode is the network namespace that netif.In enters.
func inode(t *testing.T, ns string) (link string) {
	t.Helper()
	if err := netif.In(ns, func() (err error) {
		link, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return link
}

// A file that was left behind names the id of a process, which another process has by
// now: that one is younger than the file.
func TestProcessIsTheContainers(t *testing.T) {
	m := newMachine(t)
	ns := testnet.New(t)
	pid, _ := process(t, ns)
	path := m.docker(id("abcd"), "web", pid)
	if _, err := container.Find("web", m.places); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(path, old, old); err != nil {
		t.Fatal(err)
	}
	if found, err := container.Find("web", m.places); fault.ClassOf(err) != fault.NotFound {
		t.Errorf("a younger process was taken for the container: %v, error %v", found, err)
	}
}

// Between the look and the entry the process may end, and another get its id.
func TestEntryIsOfTheSameProcess(t *testing.T) {
	m := newMachine(t)
	ns := testnet.New(t)
	pid, _ := process(t, ns)
	m.docker(id("abcd"), "web", pid)
	found, err := container.Find("web", m.places)
	if err != nil {
		t.Fatal(err)
	}
	found.Start++ // as if it were another's
	if err := netif.In(found.Netns(), func() error { return nil }); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("the namespace of another process was entered: %v", err)
	}
}

// Whoever can write such files could lead root into a namespace of his.
func TestOnlyRootsFilesAreBelieved(t *testing.T) {
	m := newMachine(t)
	ns := testnet.New(t)
	pid, _ := process(t, ns)
	path := m.docker(id("abcd"), "web", pid)
	for name, spoil := range map[string]func() error{
		"another owner":        func() error { return os.Chown(path, 1000, 0) },
		"others may write":     func() error { return os.Chmod(path, 0o602) },
		"a folder of others":   func() error { return os.Chown(filepath.Dir(path), 1000, 0) },
		"a link of another's":  func() error { return linkOf(path, filepath.Join(m.dir, "elsewhere")) },
		"not a regular file":   func() error { return os.Mkdir(path, 0o700) },
		"more than can be his": func() error { return os.Truncate(path, 2<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.RemoveAll(filepath.Dir(path)); err != nil {
				t.Fatal(err)
			}
			m.docker(id("abcd"), "web", pid)
			if name == "not a regular file" {
				_ = os.Remove(path)
			}
			if err := spoil(); err != nil {
				t.Fatal(err)
			}
			if found, err := container.Find("web", m.places); err == nil {
				t.Errorf("found %v", found)
			}
		})
	}
}

func linkOf(path, target string) error {
	if err := os.Rename(path, target); err != nil {
		return err
	}
	if err := os.Symlink(target, path); err != nil {
		return err
	}
	return os.Lchown(path, 1000, 0)
}

// An id that no runtime knows is looked for in the cgroups of processes, of which the
// one that began first is the container's. Those of a user are not believed.
func TestCgroupsOfProcesses(t *testing.T) {
	m := newMachine(t)
	proc := func(pid int, start, cgroup string) {
		dir := fmt.Sprintf("proc/%d/", pid)
		m.write(dir+"stat", fmt.Sprintf("%d (a b) c) S 1 %s%s 0", pid, strings.Repeat("0 ", 17), start))
		m.write(dir+"cgroup", cgroup)
		if err := os.MkdirAll(filepath.Join(m.dir, dir, "ns"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink("net:[1]", filepath.Join(m.dir, dir, "ns", "net")); err != nil {
			t.Fatal(err)
		}
	}
	m.places.Proc, m.places.Cgroups = filepath.Join(m.dir, "proc"), filepath.Join(m.dir, "cgroup")
	mine, users := id("11112222"), id("33334444")
	for _, path := range []string{"kubepods/pod1/cri-containerd-" + mine + ".scope", "memory/libpod-" + id("5555") + "/container", "user.slice/libpod-" + users + ".scope"} {
		if err := os.MkdirAll(filepath.Join(m.places.Cgroups, path), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(filepath.Join(m.places.Cgroups, "user.slice/libpod-"+users+".scope"), 1000, 1000); err != nil {
		t.Fatal(err)
	}
	proc(12, "700", "0::/kubepods/pod1/cri-containerd-"+mine+".scope\n")
	proc(13, "600", "0::/kubepods/pod1/cri-containerd-"+mine+".scope\n")
	proc(14, "500", "0::/init.scope\n")
	proc(15, "400", "3:memory:/libpod-"+id("5555")+"/container\n0::/\n")
	proc(16, "300", "0::/user.slice/libpod-"+users+".scope\n")

	m.writeJSON("stores/containers.json", []object{{"id": id("5555"), "names": []string{"cache"}}})
	for name, want := range map[string]int{"1111": 13, mine: 13, "5555": 15, "cache": 15} {
		found, err := container.Find(name, m.places)
		if err != nil || found.PID != want {
			t.Errorf("%s: %v, error %v; want process %d", name, found, err, want)
		}
	}
	if found, err := container.Find("3333", m.places); err == nil {
		t.Errorf("a cgroup of a user was believed: %v", found)
	}
	for pid, want := range map[string]struct {
		id     string
		ofRoot bool
	}{"12": {mine, true}, "14": {"", false}, "15": {id("5555"), true}, "16": {users, false}} {
		if got, ofRoot := container.OfProcess(filepath.Join(m.places.Proc, pid), m.places.Cgroups); got != want.id || ofRoot != want.ofRoot {
			t.Errorf("process %s is of %q, of root %v", pid, got, ofRoot)
		}
	}
}

// FuzzRuntimeFiles: whatever stands in the files, no process is taken that was not named by
// one, and nothing else goes wrong.
func FuzzRuntimeFiles(f *testing.F) {
	f.Add([]byte(`{"Name":"/web","State":{"Running":true,"Pid":1}}`), "web")
	f.Add([]byte(`{"annotations":{"io.kubernetes.cri.sandbox-name":"web","io.kubernetes.cri-o.Labels":"{"}}`), "web")
	f.Add([]byte(`[{"id":"00","names":["web"]}]`), "0000")
	f.Add([]byte(`{"pid":1,"process-start-time":0,"init_process_pid":-1}`), "x")
	f.Add([]byte("1\n"), "0123")
	if os.Getuid() != 0 {
		f.Skip("needs root: the files must belong to it")
	}
	f.Fuzz(func(t *testing.T, text []byte, name string) {
		dir := t.TempDir()
		for _, path := range []string{
			"docker/0123/config.v2.json", "tasks/n/0123/config.json", "tasks/n/0123/init.pid", "bundles/0123/userdata/config.json",
			"bundles/0123/userdata/pidfile", "stores/containers.json", "states/x/state.json", "states/x/status", "proc/1/stat", "proc/1/cgroup",
		} {
			path = filepath.Join(dir, path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		at := func(name string) []string { return []string{filepath.Join(dir, name)} }
		found, err := container.Find(name, container.Places{
			Docker: at("docker"), Tasks: at("tasks"), Bundles: at("bundles"), Stores: at("stores"), States: at("states"), Proc: at("proc")[0], Cgroups: dir,
		})
		if (found == nil) == (err == nil) {
			t.Fatalf("found %v, error %v", found, err)
		}
		if found != nil {
			t.Fatalf("process 1 has no namespace there, and was found: %v", found)
		}
	})
}
