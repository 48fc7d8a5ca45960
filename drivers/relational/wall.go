package relational

import "time"

// Wall returns the least time that a clock of a zone may show from a moment on: that of the moment, or, where the clock is put back
// soon after, that of then. Whatever is made later has that time or a later one, so a row with such a time may be of the moment.
func Wall(moment time.Time, zone *time.Location) time.Time {
	if zone == nil {
		zone = time.UTC
	}
	local := moment.In(zone)
	least := asUTC(local)
	// Clocks are put back by at most a day (Samoa, 1892), so a change after that shows no earlier time.
	for at := local; ; {
		_, end := at.ZoneBounds()
		if end.IsZero() || end.Sub(moment) > 25*time.Hour {
			return least
		}
		if wall := asUTC(end.In(zone)); wall.Before(least) {
			least = wall
		}
		at = end.In(zone)
	}
}

// asUTC is what the clock shows, as a time of a zone that never changes.
func asUTC(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}
