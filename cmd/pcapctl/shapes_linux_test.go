package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"pcapctl/capture"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
	"pcapctl/storage"
)

// recordedShapes are the JSON texts of docs/api-shapes.md, by their headings.
func recordedShapes(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/api-shapes.md")
	must(t, err)
	shapes := map[string]string{}
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		heading, rest, _ := strings.Cut(section, "\n")
		if _, block, ok := strings.Cut(rest, "```json\n"); ok {
			shapes[heading], _, _ = strings.Cut(block, "```")
		}
	}
	return shapes
}

// shapeOf has a line for every member: its path and the type of its value, in the
// order of the text. Of a list it has the first item.
func shapeOf(t *testing.T, text string) []string {
	t.Helper()
	var v any
	must(t, json.Unmarshal([]byte(text), &v))
	tree, err := ordered(json.RawMessage(text))
	must(t, err)
	var lines []string
	var walk func(path string, n *yaml.Node)
	walk = func(path string, n *yaml.Node) {
		switch n.Kind {
		case yaml.MappingNode:
			lines = append(lines, path+" object")
			for i := 0; i+1 < len(n.Content); i += 2 {
				walk(path+"."+n.Content[i].Value, n.Content[i+1])
			}
		case yaml.SequenceNode:
			lines = append(lines, path+" list")
			if len(n.Content) > 0 {
				walk(path+"[]", n.Content[0])
			}
		default:
			lines = append(lines, path+" "+strings.TrimPrefix(n.Tag, "!!"))
		}
	}
	walk("", tree)
	return lines
}

// within leaves out what lies in the members with these paths, and names those
// paths that were there.
func within(shape []string, own ...string) (rest, found []string) {
	for _, line := range shape {
		path, _, _ := strings.Cut(line, " ")
		at := slices.IndexFunc(own, func(o string) bool {
			return path == o || strings.HasPrefix(path, o+".") || strings.HasPrefix(path, o+"[")
		})
		switch {
		case at < 0:
			rest = append(rest, line)
		case path == own[at]:
			found = append(found, path)
		}
	}
	return rest, found
}

// The program prints what docs/api-shapes.md has recorded of the service: the
// same members, in the same order, of the same types, and those of its own that
// the page names.
func TestRecordedShapes(t *testing.T) {
	t.Parallel()
	shapes := recordedShapes(t)
	dir := filepath.Join(t.TempDir(), "state")
	pcapctl := func(args ...string) (out, errs string) {
		// Another process: whether a session runs is told by a lock, which is not seen
		// by the process that holds it.
		var o, e bytes.Buffer
		cmd := exec.Command("pcapctl", append([]string{"--state-dir", dir, "-o", "json"}, args...)...)
		cmd.Env, cmd.Stdout, cmd.Stderr = environ(), &o, &e
		_ = cmd.Run()
		return o.String(), e.String()
	}
	check := func(heading, printed string, own ...string) {
		t.Helper()
		recorded, ok := shapes[heading]
		if !ok {
			t.Fatalf("the page has no %q", heading)
		}
		delete(shapes, heading)
		rest, found := within(shapeOf(t, printed), own...)
		if want := shapeOf(t, recorded); !slices.Equal(rest, want) {
			t.Errorf("%s: printed\n%s\nrecorded\n%s", heading, strings.Join(rest, "\n"), strings.Join(want, "\n"))
		}
		if !slices.Equal(found, own) {
			t.Errorf("%s: of the members %q only %q are printed, in this order", heading, own, found)
		}
	}
	const status, stop, errs, statistics, start = ".properties.packetCaptureStatus", ".properties.stopReason", ".properties.packetCaptureError", ".properties.statistics", ".properties.captureStartTime"

	list, _ := pcapctl("list")
	check("List", list)
	begun := time.Date(2031, 2, 3, 4, 5, 6, 120_000_000, time.UTC)
	var etags []string
	show := func(name string) string {
		out, _ := pcapctl("show", name)
		var res capture.Resource
		must(t, json.Unmarshal([]byte(out), &res))
		etags = append(etags, res.Etag)
		return out
	}
	one := claimed(t, dir, "pc1", `"timeLimitInSeconds":18000,"storageLocation":{"storageId":"","filePath":"/var/captures/x.cap"},"filters":[{"localIPAddress":"127.0.0.1"}]`)
	check("Result", show("pc1"), status, errs, statistics)
	one.Begin(begun, storage.FileID{})
	show("pc1")
	running, _ := pcapctl("show-status", "pc1")
	check("Status of a running capture", running, ".statistics", ".remaining")
	if !strings.Contains(running, `"captureStartTime": "2031-02-03T04:05:06.12Z"`) {
		t.Error(running)
	}
	must(t, one.End(&capture.Result{Config: clientConfig(t, "pc1", `"storageLocation":{"filePath":"/var/captures/x.cap"},"filters":[{"localIPAddress":"127.0.0.1"}]`), Started: begun, StopReason: capture.Manual}, nil))
	show("pc1")
	ended, _ := pcapctl("show-status", "pc1")
	check("Status of a capture that has ended", ended, ".statistics")
	slices.Sort(etags)
	if etags = slices.Compact(etags); len(etags) != 1 {
		t.Errorf("etags of one request: %q", etags)
	}

	blob := claimed(t, dir, "blob", `"storageLocation":{"storageId":"`+armID("rg1", "Microsoft.Storage/storageAccounts/account1")+`"}`)
	blob.Begin(begun, storage.FileID{})
	check("Result with storage", show("blob"), start, status, errs, statistics)
	ring := claimed(t, dir, "ring", `"storageLocation":{"localPath":"/var/captures/x.cap"},"continuousCapture":true,"captureSettings":{"fileCount":2}`)
	ring.Begin(begun, storage.FileID{})
	check("Result of a ring", show("ring"), start, status, errs, statistics)

	_, notFound := pcapctl("show", "pc2")
	check("Error", notFound)
	_, invalid := pcapctl("validate", "--file-path", "/etc/x.cap", "--time-limit", "18001", "-i", "lo")
	check("Error of a request", invalid, ".error.details[].target")
	var answer envelope
	must(t, json.Unmarshal([]byte(invalid), &answer))
	if e := answer.Error; len(e.Details) != 2 || e.Code != e.Details[0].Code {
		t.Errorf("%+v", e)
	}
	for heading := range shapes {
		t.Errorf("%s is on the page and was not compared", heading)
	}

	all, _ := pcapctl("list")
	if items := regexp.MustCompile(`"etag": "W/`).FindAllString(all, -1); len(items) != 3 {
		t.Errorf("%d sessions: %s", len(items), all)
	}
	for query, want := range map[string]string{
		"sort([].name)": "blob pc1 ring", "sort(value[].name)": "blob pc1 ring", "length(@)": "3", "length(value)": "3",
		"[?name=='pc1'].storageLocation.filePath": "/var/captures/x.cap", "[?name=='pc1'].properties.storageLocation.filePath": "/var/captures/x.cap",
		"[?storageLocation.storageId].name": "blob", "[?name=='value']": "", "{n: sort(value[].name)[0]}": "blob", "sort_by(@, &name)[-1].resourceGroup": "rg1",
	} {
		out, _ := pcapctl("list", "--query", query, "-o", "tsv")
		if got := strings.Join(strings.Fields(out), " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	whole, _ := pcapctl("show", "pc1")
	again, _ := pcapctl("show", "pc1", "--query", "@")
	if got, want := sortedLines(shapeOf(t, again)), sortedLines(shapeOf(t, whole)); !slices.Equal(got, want) {
		t.Errorf("a query of everything prints\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func sortedLines(lines []string) []string { return slices.Sorted(slices.Values(lines)) }

// clientConfig is the config of a request with the given members.
func clientConfig(t *testing.T, name, members string) *request.Config {
	t.Helper()
	req, err := request.Decode(fmt.Appendf(nil, `{"name":%q,"properties":{"target":%q,%s}}`, name, vmID("rg1", "vm1"), members))
	must(t, err)
	config, err := request.NewConfig(req, request.Host{Name: "h", Now: time.Now()})
	must(t, err)
	return config
}

// claimed is a session of such a request, which has not begun.
func claimed(t *testing.T, dir, name, members string) *registry.Claim {
	t.Helper()
	config := clientConfig(t, name, members)
	ord := &order{Host: request.Host{Now: time.Now()}, StateDir: dir}
	ord.setConfig(config, &request.Request{})
	claim, err := registry.New(dir).Claim(ord.record(&livePlan{Plan: capture.NewPlan(config, noSource{})}), false)
	must(t, err)
	t.Cleanup(func() { runtime.KeepAlive(claim) }) // else its files are closed by the garbage collector, and its lock with them
	return claim
}
