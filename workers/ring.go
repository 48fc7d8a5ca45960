package workers

// ring divides a buffer among contents that are used at the same time. It is not safe for concurrent use.
type ring struct {
	size  int
	spans []*span // oldest first
}

// span is a stretch of a ring's buffer.
type span struct {
	from, to int
	free     bool
}

// take returns n bytes in one piece, at least one, if they are there.
func (r *ring) take(n int) (*span, bool) {
	n = max(n, 1)
	from, to := 0, r.size
	if len(r.spans) > 0 {
		oldest, newest := r.spans[0], r.spans[len(r.spans)-1]
		from = newest.to
		switch {
		case newest.from < oldest.from: // it has gone round
			to = oldest.from
		case to-from < n:
			from, to = 0, oldest.from
		}
	}
	if to-from < n {
		return nil, false
	}
	s := &span{from: from, to: from + n}
	r.spans = append(r.spans, s)
	return s, true
}

// give gives a span back. Its bytes can be taken again when all older ones were given back.
func (r *ring) give(s *span) {
	s.free = true
	for len(r.spans) > 0 && r.spans[0].free {
		r.spans = r.spans[1:]
	}
}
