package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestNameOfID(t *testing.T) {
	for text, want := range map[string]string{
		"web": "web", "a/b": "a/b",
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkWatchers/w/packetCaptures/web": "web",
		"/SUBSCRIPTIONS/s/x/PACKETCAPTURES/Web": "Web",
	} {
		if got, ok := nameOfID(text); got != want || !ok {
			t.Errorf("%s: %q, %v", text, got, ok)
		}
	}
	for _, text := range []string{"/", "/web", "/subscriptions/s/packetCaptures/", "/var/captures/packetCaptures/web", "/packetCaptures/web"} {
		if got, ok := nameOfID(text); ok {
			t.Errorf("%s is taken for an id of %q", text, got)
		}
	}
}

// Flags of az that mean nothing here do no harm to any command.
func TestAzFlagsArePassedOver(t *testing.T) {
	for _, cmd := range (&app{}).rootCommand(&bytes.Buffer{}).Commands() {
		var out, errs bytes.Buffer
		code := run([]string{cmd.Name(), "-l", "westeurope", "-g", "G", "--subscription", "S", "--network-watcher-name", "W", "--only-show-errors", "-y", "--help"}, strings.NewReader(""), &out, &errs)
		if code != 0 || errs.Len() > 0 || strings.Contains(out.String(), "--subscription") {
			t.Errorf("%s: exit code %d: %s%s", cmd.Name(), code, &errs, &out)
		}
	}
}

// Every flag that is not known is told, whatever stands between them, and a value
// is not taken for a flag.
func TestUnknownFlags(t *testing.T) {
	root := (&app{}).rootCommand(&bytes.Buffer{})
	create, _, err := root.Find([]string{"create"})
	must(t, err)
	must(t, create.ParseFlags(nil)) // merges those of all commands
	for line, want := range map[string]string{
		"create --nope 1 --name --x --nah=2": "--nope --nah=2",
		"-o json create -n --nope":           "",
		"create -nx -yZ -yo --q -i=lo -Q":    "-yZ -Q",
		"create --promiscuous --no -- --nah": "--no",
		"create --continuous-capture --na -": "--na",
		"create --name=--x -f - --file-pth":  "--file-pth",
	} {
		if got := strings.Join(unknownFlags(create.Flags(), strings.Fields(line)), " "); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

func TestYAMLInColours(t *testing.T) {
	o := output{format: "yamlc", query: "items[:1].{n: name, i: {c: count}}", color: true}
	must(t, o.check())
	var b strings.Builder
	must(t, o.print(&b, counted))
	got := b.String()
	const on, off = "\x1b[94m", "\x1b[0m"
	if want := "- " + on + "i" + off + ":\n    " + on + "c" + off + ": 18446744073709551615\n  " + on + "n" + off + ": max\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
