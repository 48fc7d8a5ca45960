package tasks

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"salvor/internal/secret"
	"salvor/internal/yamltree"
)

// Resolver fills in the references of a text, see [Resolve].
type Resolver func(text string) (secret.Text, error)

// ResolveOptions fills in the references of all texts in those of a node's options that keys names; names within them
// and all other options stay as they are. The result may hold secrets. Errors name the option, and no value.
func ResolveOptions(options json.RawMessage, keys []string, resolve Resolver) (json.RawMessage, error) {
	if len(options) == 0 || len(keys) == 0 {
		return options, nil
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(options, &all); err != nil {
		return nil, fmt.Errorf("decode options: %w", err)
	}
	for _, key := range keys {
		if _, ok := all[key]; !ok {
			continue
		}
		value, err := decodeOption(all[key])
		if err == nil {
			value, err = mapTexts(value, func(text string) (string, error) {
				if strings.TrimSpace(text) == RedactedSource {
					return "", errRedacted
				}
				resolved, err := resolve(text)
				return resolved.Reveal(), err
			})
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key, err)
		}
		if all[key], err = json.Marshal(value); err != nil {
			return nil, fmt.Errorf("%s: encode: %w", key, err)
		}
	}
	return json.Marshal(all)
}

var errRedacted = errors.New(RedactedSource + " stands for a secret that was not stored")

// References returns the references in a node's source and in those of its options that keys names, each as it is
// written: ${NAME}. A malformed text has none.
func References(source string, options json.RawMessage, keys []string) []string {
	var found []string
	collect := func(text string) (string, error) {
		_ = scanReferences(text, func(t textPart) error {
			switch {
			case t.variable != "":
				found = append(found, "${"+t.variable+"}")
			case t.file != "":
				found = append(found, "${file:"+t.file+"}")
			}
			return nil
		})
		return text, nil
	}
	if strings.TrimSpace(source) != RedactedSource {
		_, _ = collect(source)
	}
	var all map[string]json.RawMessage
	if json.Unmarshal(options, &all) == nil {
		for _, key := range keys {
			if value, err := decodeOption(all[key]); err == nil {
				_, _ = mapTexts(value, collect)
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

// decodeOption decodes a value without a loss of digits.
func decodeOption(data json.RawMessage) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	return value, nil
}

// mapTexts replaces all texts of a decoded value.
func mapTexts(value any, change func(string) (string, error)) (any, error) {
	var err error
	switch v := value.(type) {
	case string:
		return change(v)
	case []any:
		for i := range v {
			if v[i], err = mapTexts(v[i], change); err != nil {
				return nil, err
			}
		}
	case map[string]any:
		for name := range v {
			if v[name], err = mapTexts(v[name], change); err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return value, nil
}

var (
	// secretName is what names of variables and flags that carry secrets have in them.
	secretName = regexp.MustCompile(`(?i)pass|pwd|secret|token|credential|signature|auth(?:[^o]|$)|key$|_key_`)
	// secretPlace is the end of names that carry no secret but tell where one lies.
	secretPlace = regexp.MustCompile(`(?i)(?:file|path|dir|sock|socket|_id|url)$`)
)

func isSecretName(name string) bool {
	return secretName.MatchString(name) && !secretPlace.MatchString(name)
}

// resolvable checks the texts of an option in which references are filled in: their form, and that none holds a secret,
// because the unresolved text is stored with every dump.
func (p *configParser) resolvable(e yamltree.Entry, where string) {
	p.resolvableValue(e.Value, e.Key, "", where)
}

// resolvableValue checks a value, which a variable or a flag of that name carries where name is not "".
func (p *configParser) resolvableValue(v *yamltree.Value, key, name, where string) {
	if v == nil {
		return
	}
	switch v.Kind {
	case yamltree.Text:
		p.references(v.At, where, v.Text)
		switch {
		case strings.TrimSpace(v.Text) == RedactedSource:
			p.found.Add(v.At, where, "write ${NAME}", "%s stands for a secret that was not stored", RedactedSource)
		case strings.HasPrefix(name, "--") && strings.HasPrefix(v.Text, "-"): // a flag after a flag
		case isSecretName(name) && isLiteral(maskReferences(v.Text)):
			p.found.Add(v.At, where, "write ${NAME} or ${file:/PATH}", "%s: %s holds a secret, and its text is stored with every dump", key, quoted(name))
		case HasLiteralSecret(v.Text):
			p.found.Add(v.At, where, "write ${NAME} or ${file:/PATH} in its place", "%s holds a secret, and its text is stored with every dump", key)
		}
	case yamltree.List:
		flag := ""
		for i, item := range v.Items {
			p.resolvableValue(item, key, flag, fmt.Sprintf("%s[%d]", where, i))
			flag = ""
			if item != nil && strings.HasPrefix(item.Text, "--") && !strings.HasPrefix(item.Text, "--no-") && !strings.Contains(item.Text, "=") {
				flag = item.Text
			}
		}
	case yamltree.Map:
		for _, e := range v.Entries {
			p.resolvableValue(e.Value, key, e.Key, where+"."+e.Key)
		}
	case yamltree.Null, yamltree.Bool, yamltree.Number:
	}
}
