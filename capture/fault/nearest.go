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

// editDistance is the Levenshtein distance: how many bytes must be inserted,
// deleted or replaced to turn a into b. It keeps one row of the table.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
