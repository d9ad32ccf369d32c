package live

import (
	"strings"
	"testing"

	"pcapctl/capture/netif"
)

// A list of the interfaces may be newer than messages that wait: each change is
// counted once, whichever came first.
func TestDownsAreCountedOnce(t *testing.T) {
	up, down := netif.Interface{Name: "v1", Index: 3, Up: true}, netif.Interface{Name: "v1", Index: 3}
	message := (*linkWatch).change
	list := (*linkWatch).note
	type step struct {
		by func(*linkWatch, netif.Interface)
		i  netif.Interface
	}
	for _, tt := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"messages", []step{{message, down}, {message, up}, {message, down}, {message, up}}, "(2×)"},
		{"a list between two messages of one change", []step{{message, down}, {list, up}, {message, down}, {message, up}}, "(1×)"},
		{"a list before the messages", []step{{list, down}, {message, down}, {list, down}}, "(1×)"},
		{"a list before older messages", []step{{message, down}, {list, down}, {message, up}, {list, down}, {message, down}}, "(2×)"},
		{"a list and no message yet", []step{{list, down}}, "(1×)"},
		{"none", []step{{list, up}, {message, up}}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &linkWatch{links: []link{{Interface: up, present: true}}}
			w.upAsListed([]netif.Interface{up})
			for _, s := range tt.steps {
				s.by(w, s.i)
			}
			if got := strings.Join(w.notes(), "; "); !strings.Contains(got, tt.want) || (got == "") != (tt.want == "") {
				t.Errorf("%q, want %s", got, tt.want)
			}
		})
	}
}
