package queue

import (
	"context"

	"salvor/tasks/ledger"
)

// Resend exports resend for tests.
func (s *Sender) Resend(ctx context.Context, emissions []ledger.Emission) error {
	return s.resend(ctx, emissions)
}

// Tidy exports tidy for tests.
func (s *Sweeper) Tidy(ctx context.Context) error { return s.tidy(ctx) }
