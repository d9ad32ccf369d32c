package hostcontext

import (
	"strings"
	"testing"
)

// Whoever was given a part of the tree of cgroups may call one as he likes: it does not get the name of the container
// whose id that is.
func TestContainersOfOthersAreNotNamed(t *testing.T) {
	s := newSampler(nil, nil)
	id := strings.Repeat("0123456789abcdef", 4)
	s.boxes[id] = "web (docker, 0123456789ab)"
	for sure, want := range map[bool]string{true: s.boxes[id], false: "0123456789ab"} {
		if got := s.containerOf(id, sure); got != want {
			t.Errorf("sure %v: %q", sure, got)
		}
	}
	if got := s.containerOf("", false); got != "" {
		t.Errorf("%q of no container", got)
	}
}
