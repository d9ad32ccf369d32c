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
	var names []string
	_ = eachName(root, func(name string) {
		if strings.HasPrefix(name, newPrefix) || strings.HasPrefix(name, oldPrefix) {
			names = append(names, name)
		}
	})
	for _, name := range names {
		st, err := root.Lstat(name)
		if err != nil || !isOwn(inodeIn(root, name, st).owner) || time.Since(st.ModTime()) < leftoverAge {
			continue
		}
		if f, err := r.open(root, name, name); err == nil {
			alive := false
			if f.lock != nil {
				_, alive, err = holder(f.lock)
			}
			f.close()
			if alive || err != nil {
				continue
			}
		}
		_ = root.RemoveAll(name)
	}
}
