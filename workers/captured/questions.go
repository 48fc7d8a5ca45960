package captured

import (
	"context"
	"errors"
	"fmt"

	"salvor/archive"
	"salvor/drivers/relational"
	"salvor/drivers/relational/review"
)

// questionSamples is how many rows of a group are named.
const questionSamples = 3

var errEnough = errors.New("enough")

// ReviewGroups are the groups as decisions name them.
func (c *Capture) ReviewGroups() ([]review.Group, error) {
	var list []review.Group
	for _, f := range c.Groups() {
		g, err := c.Group(f)
		if err != nil {
			return nil, err
		}
		list = append(list, review.Group{Number: f.Group, Table: nameOf(f), Group: g})
	}
	return list, nil
}

// Decisions reads what was decided, as it is now; nothing is where somebody has removed the file. What is wrong with it is an error of
// package review.
func (c *Capture) Decisions(ctx context.Context, a *archive.Archive) (*review.Decisions, error) {
	groups, err := c.ReviewGroups()
	if err != nil {
		return nil, err
	}
	text, err := a.CaptureText(ctx, c.Ref(), archive.DecisionsFile)
	if err != nil {
		return nil, err
	}
	return review.Parse(text, review.Options{File: archive.DecisionsFile, Model: c.Model, Groups: groups})
}

// Questions is what decisions.yaml says at first: every open question as a comment, so that nothing is decided. The files of the
// groups must be stored.
func (c *Capture) Questions(ctx context.Context, a *archive.Archive) ([]byte, error) {
	groups, err := c.ReviewGroups()
	if err != nil {
		return nil, err
	}
	before := make(map[relational.Name]int64) // rows that tables had
	for i := range c.Coverage {
		if v := &c.Coverage[i]; v.Rows >= 0 {
			before[v.Table] = v.Rows - v.Created + v.Deleted
		}
	}
	var questions []review.Question
	for i, f := range c.Groups() {
		q := review.Question{Group: groups[i], Of: before[nameOf(f)]}
		err := c.Lines(ctx, a, f, func(_ int, l *relational.Line, bad error) error {
			if bad != nil {
				return bad
			}
			values := l.Data
			if values == nil {
				values = l.Base
			}
			if q.Sample = append(q.Sample, l.Table.Describe(l.Table.Identity(), values)); len(q.Sample) == questionSamples {
				return errEnough
			}
			return nil
		})
		if err != nil && !errors.Is(err, errEnough) {
			return nil, fmt.Errorf("read group %d: %w", f.Group, err)
		}
		questions = append(questions, q)
	}
	return review.Template("capture "+c.Capture.Capture+" of "+c.Node, questions), nil
}
