package fault

import "strings"

// Nearest is the known name that a misspelt one was probably meant to be, or
// "" when none is near: at most a third of its letters may differ. Letter case
// does not count.
func Nearest(given string, known []string) string {
	if len(given) > maxShown {
		return ""
	}
	given = strings.ToLower(given)
	best, bestDistance := "", 0
	for _, name := range known {
		limit := max(1, max(len(name), len(given))/3)
		d := editDistance(given, strings.ToLower(name))
		if d <= limit && d < len(name) && (best == "" || d < bestDistance) {
			best, bestDistance = name, d
		}
	}
	return best
}

// editDistance is how many bytes must be inserted, deleted or replaced, or exchanged
// with their neighbour, to turn a into b (optimal string alignment). It keeps three
// rows of the table.
func editDistance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
