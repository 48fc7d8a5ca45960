package filesystem

import (
	"bytes"
	"encoding/json"
	"fmt"

	"salvor/drivers"
	"salvor/drivers/internal/exclude"
)

// The keys of a node of this driver.
const (
	optionExclude       = "exclude"
	optionOneFileSystem = "one_file_system"
	optionCachedirTag   = "cachedir_tag"
)

// options are what a node says beside its source.
type options struct {
	exclude       exclude.List
	oneFileSystem bool
	cachedirTag   bool
}

// parseOptions reads a node's options strictly. Errors name the key.
func parseOptions(raw json.RawMessage) (options, error) {
	o := options{cachedirTag: true}
	if len(bytes.TrimSpace(raw)) == 0 {
		return o, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		return o, fmt.Errorf("options: not a mapping of keys: %w", drivers.ErrInvalid)
	}
	for key, value := range keys {
		switch key {
		case optionExclude:
			var patterns []string
			if isNull(value) || json.Unmarshal(value, &patterns) != nil {
				return o, fmt.Errorf("%s: must be a list of patterns: %w", key, drivers.ErrInvalid)
			}
			var err error
			if o.exclude, err = exclude.Parse(patterns); err != nil {
				return o, fmt.Errorf("%s: %w", key, err)
			}
		case optionOneFileSystem:
			if isNull(value) || json.Unmarshal(value, &o.oneFileSystem) != nil {
				return o, fmt.Errorf("%s: must be true or false: %w", key, drivers.ErrInvalid)
			}
		case optionCachedirTag:
			if isNull(value) || json.Unmarshal(value, &o.cachedirTag) != nil {
				return o, fmt.Errorf("%s: must be true or false: %w", key, drivers.ErrInvalid)
			}
		default:
			return o, fmt.Errorf("%s: unknown option (have %s, %s, %s): %w",
				key, optionCachedirTag, optionExclude, optionOneFileSystem, drivers.ErrInvalid)
		}
	}
	return o, nil
}

// isNull tells a null, which encoding/json would take for "leave as it is".
func isNull(value json.RawMessage) bool { return string(bytes.TrimSpace(value)) == "null" }
