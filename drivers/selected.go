package drivers

import "slices"

// Selected returns the names of a selection and those that they stand for, and which of them the driver knows although there may be no
// part of that name: what has no rows of its own in the dump, such as a view.
func (k Kind) Selected(parts []Part, only []string) (names, known []string) {
	names = slices.Clone(only)
	if k.Select == nil {
		return names, nil
	}
	for _, name := range only {
		also, ok := k.Select(parts, name)
		if ok {
			known = append(append(known, name), also...)
		}
		for _, n := range also {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names, known
}
