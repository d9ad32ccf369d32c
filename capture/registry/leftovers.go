package registry

import (
	"os"
	"strings"
	"time"
)

// leftoverAge is how old a folder that is being made or removed must be to count
// as left over.
const leftoverAge = time.Minute

// removeLeftovers removes what processes that were killed have half made or half
// removed.
func (r *Registry) removeLeftovers(root *os.Root) {
	names, err := fileNames(root)
	if err != nil {
		return
	}
	for _, name := range names {
		if !strings.HasPrefix(name, newPrefix) && !strings.HasPrefix(name, oldPrefix) {
			continue
		}
		st, err := root.Lstat(name)
		if err != nil || inodeOf(st).owner != os.Geteuid() || time.Since(st.ModTime()) < leftoverAge {
			continue
		}
		if f, err := r.open(root, name); err == nil {
			_, alive, err := holder(f.lock)
			f.close()
			if alive || err != nil {
				continue
			}
		}
		_ = root.RemoveAll(name)
	}
}
