package media

import (
	"bytes"
	"encoding/json"
	"fmt"

	"salvor/drivers"
	"salvor/drivers/internal/exclude"
)

// The keys of a node of this driver.
const optionExclude = "exclude"

// options are what a node says beside its source.
type options struct {
	patterns []string
	exclude  exclude.List
}

// parseOptions reads a node's options strictly. Errors name the key.
func parseOptions(raw json.RawMessage) (options, error) {
	var o options
	if len(bytes.TrimSpace(raw)) == 0 {
		return o, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return o, fmt.Errorf("options: not a mapping of keys: %w", drivers.ErrInvalid)
	}
	for key, value := range keys {
		if key != optionExclude {
			return o, fmt.Errorf("%s: unknown option (have %s): %w", key, optionExclude, drivers.ErrInvalid)
		}
		// A null would be taken for "leave as it is".
		if string(bytes.TrimSpace(value)) == "null" || json.Unmarshal(value, &o.patterns) != nil {
			return o, fmt.Errorf("%s: must be a list of patterns: %w", key, drivers.ErrInvalid)
		}
		var err error
		if o.exclude, err = exclude.Parse(o.patterns); err != nil {
			return o, fmt.Errorf("%s: %w", key, err)
		}
	}
	return o, nil
}
