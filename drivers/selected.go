package drivers

import "slices"

// Selected returns the names of a selection and those of the parts that they stand for, and which of the names the driver knows
// although no part has them: what has no rows of its own in the dump, such as a view.
func (k Kind) Selected(parts []Part, only []string) (names, known []string) {
	names = slices.Clone(only)
	if k.Select == nil {
		return names, nil
	}
	for _, name := range only {
		also, ok := k.Select(parts, name)
		if ok {
			known = append(known, name)
		}
		for _, n := range also {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names, known
}
