package relational

import (
	"fmt"
	"time"

	"salvor/drivers"
)

// ParseZone reads the name of a time zone as databases have it: an IANA name, or an offset such as +02:00; "" is UTC. It returns
// [drivers.ErrInvalid] for what is not known here: CEST, which is several zones' name.
func ParseZone(name string) (*time.Location, error) {
	if offset, err := time.Parse("-07:00", name); err == nil {
		_, seconds := offset.Zone()
		if seconds == 0 {
			return time.UTC, nil
		}
		return time.FixedZone(name, seconds), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("time zone %q: %w: not known here", name, drivers.ErrInvalid)
	}
	return zone, nil
}
