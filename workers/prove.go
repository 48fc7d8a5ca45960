package workers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"salvor/drivers"
	"salvor/tasks"
)

// errProof tells that a target does not hold what was dumped though all of it was restored.
var errProof = errors.New("proof failed")

// prove compares a target with the dump and adds what it found to the result.
func (a *attempt) prove(ctx context.Context, t *target, stream drivers.Stream, result *tasks.NodeResult) error {
	prover, ok := stream.(drivers.Prover)
	if !ok {
		return nil // its content was compared with its hash as it was written
	}
	proof, err := prover.Prove(ctx, t.rules, t.parts())
	if err != nil {
		return fmt.Errorf("compare with the dump: %w", err)
	}
	if result.Proof, err = json.Marshal(proof); err != nil {
		return fmt.Errorf("encode proof: %w", err)
	}
	const named = 5
	if n := len(proof.Differences); n > 0 {
		text := strings.Join(proof.Differences[:min(n, named)], "; ")
		if n > named {
			text += "; and more"
		}
		return drivers.WithHint(fmt.Errorf("%w: %s", errProof, text),
			"was the target written to while it was restored? Restore again into a database that nobody uses")
	}
	return nil
}
