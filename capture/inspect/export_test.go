package inspect

// FindingIDs are the ids of all kinds of failure.
func FindingIDs() []string {
	var list []string
	for _, a := range abouts[1:] {
		list = append(list, a.id)
	}
	return list
}

// CounterFindings are the ids of findings that counters of the machine go with.
func CounterFindings() []string {
	var list []string
	for _, t := range troubles {
		list = append(list, t.findings...)
	}
	return list
}
