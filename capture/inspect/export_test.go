package inspect

// FindingIDs are the ids of all kinds of failure.
func FindingIDs() []string {
	var list []string
	for _, a := range abouts[1:] {
		list = append(list, a.id)
	}
	return list
}
