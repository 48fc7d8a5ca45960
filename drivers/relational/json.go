package relational

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"

	"salvor/drivers"
)

// What a value is written as where its plain form would be read as something else: an object of one of these names.
const (
	formInt     = "$int"
	formDecimal = "$decimal"
	formFloat   = "$float"
	formBool    = "$bool"
	formText    = "$text"   // a text that would be read as a number
	formBytes   = "$b64"    // bytes, or the text of a text column that is not UTF-8
	formBinText = "$text64" // a text that is not UTF-8, where bytes would be something else
)

// exactInt is how far JSON's readers keep whole numbers: those beyond are written as texts.
const exactInt = 1 << 53

// AppendJSON appends a value of a column as JSON, so that [ParseJSON] makes exactly it of that.
func AppendJSON(to []byte, c *Column, v Value) []byte {
	from := len(to)
	to = appendPlain(to, c, v)
	if read, err := ParseJSON(c, to[from:]); err == nil && read.Equal(v) {
		return to
	}
	return appendForm(to[:from], v)
}

// appendPlain writes what people would.
func appendPlain(to []byte, c *Column, v Value) []byte {
	switch v.Kind {
	case Null:
		return append(to, "null"...)
	case Bool:
		return append(to, v.Text...)
	case Int:
		if c.Type == TypeBool && len(v.Text) == 1 && v.Text[0] <= '1' {
			return strconv.AppendBool(to, v.Text[0] == '1')
		}
		if n, err := strconv.ParseInt(string(v.Text), 10, 64); err == nil && n <= exactInt && n >= -exactInt {
			return append(to, v.Text...)
		}
		return appendString(to, v.Text)
	case Float:
		if json.Valid(v.Text) {
			return append(to, v.Text...)
		}
		return appendString(to, v.Text)
	case Decimal:
		return appendString(to, v.Text)
	case Text:
		if utf8.Valid(v.Text) {
			return appendString(to, v.Text)
		}
	case Bytes:
	}
	return appendBase64(to, formBytes, v.Text)
}

// appendForm writes what the value is beside it.
func appendForm(to []byte, v Value) []byte {
	name := formText
	switch v.Kind {
	case Null:
		return append(to, "null"...)
	case Bool:
		name = formBool
	case Int:
		name = formInt
	case Decimal:
		name = formDecimal
	case Float:
		name = formFloat
	case Bytes:
		return appendBase64(to, formBytes, v.Text)
	case Text:
		if !utf8.Valid(v.Text) {
			return appendBase64(to, formBinText, v.Text)
		}
	}
	to = append(to, `{"`...)
	to = append(to, name...)
	to = append(to, `":`...)
	return append(appendString(to, v.Text), '}')
}

func appendBase64(to []byte, name string, b []byte) []byte {
	to = append(to, `{"`...)
	to = append(to, name...)
	to = append(to, `":"`...)
	return append(base64.StdEncoding.AppendEncode(to, b), `"}`...)
}

// appendString writes a text of UTF-8. Go's own encoder would escape what HTML cannot have.
func appendString(to, text []byte) []byte {
	const hex = "0123456789abcdef"
	to = append(to, '"')
	for _, r := range string(text) {
		switch {
		case r == '"' || r == '\\':
			to = append(to, '\\', byte(r))
		case r == '\n':
			to = append(to, '\\', 'n')
		case r == '\t':
			to = append(to, '\\', 't')
		case r == '\r':
			to = append(to, '\\', 'r')
		case r < ' ' || r == 0x7f || r == 0x2028 || r == 0x2029: // the last two end lines for some
			to = append(to, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
		default:
			to = utf8.AppendRune(to, r)
		}
	}
	return append(to, '"')
}

// ParseJSON reads a value of a column from JSON: the forms of [AppendJSON], and what else a person may write that can be only one
// thing. Errors wrap [drivers.ErrInvalid] and name the column, and no value.
func ParseJSON(c *Column, raw []byte) (Value, error) {
	v, err := parseValue(c, bytes.TrimSpace(raw))
	if err != nil {
		return Value{}, fmt.Errorf("column %q (%s): %w: %w", c.Name, c.SQL, drivers.ErrInvalid, err)
	}
	return v, nil
}

type wrong string

func (w wrong) Error() string { return string(w) }

const (
	errNotJSON   wrong = "not JSON"
	errSurrogate wrong = "half of a surrogate pair, which is no character"
	errBase64    wrong = "not base64"
	errForm      wrong = "an object, but none that stands for a value"
)

func parseValue(c *Column, raw []byte) (Value, error) {
	if !json.Valid(raw) {
		return Value{}, errNotJSON
	}
	switch raw[0] {
	case 'n':
		return Value{}, nil
	case 't', 'f':
		return boolOf(c, raw)
	case '"':
		text, err := unquote(raw)
		if err != nil {
			return Value{}, err
		}
		return textOf(c, text)
	case '{':
		if v, ok, err := parseForm(c, raw); ok || err != nil {
			return v, err
		}
		return document(c, raw)
	case '[':
		return document(c, raw)
	default:
		return numberOf(c, raw)
	}
}

// unquote reads a string. Go's decoder makes a replacement character of half a surrogate pair; nothing is replaced here.
func unquote(raw []byte) ([]byte, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return nil, errNotJSON
	}
	if bytes.ContainsRune([]byte(text), utf8.RuneError) {
		written := bytes.Count(raw, []byte(string(utf8.RuneError))) + bytes.Count(bytes.ToLower(raw), []byte(`\ufffd`))
		if bytes.Count([]byte(text), []byte(string(utf8.RuneError))) > written || !utf8.Valid(raw) {
			return nil, errSurrogate
		}
	}
	return []byte(text), nil
}

func boolOf(c *Column, raw []byte) (Value, error) {
	switch {
	case c.Type == TypeJSON:
		return Value{Text, raw}, nil
	case c.Dynamic && raw[0] == 't': // SQLite's own true is 1
		return Value{Int, []byte("1")}, nil
	case c.Dynamic:
		return Value{Int, []byte("0")}, nil
	case c.Type == TypeBool:
		return Value{Bool, raw}, nil
	case c.Type == TypeInt: // MySQL's BOOLEAN is a TINYINT
		return boolOf(&Column{Dynamic: true}, raw)
	}
	return Value{}, wrong("true or false is none of its values")
}

func numberOf(c *Column, raw []byte) (Value, error) {
	whole := !bytes.ContainsAny(raw, ".eE")
	switch {
	case c.Dynamic:
		return dynamicNumber(raw, whole)
	case c.Type == TypeJSON:
		return Value{Text, raw}, nil
	case c.Type == TypeBool && (string(raw) == "0" || string(raw) == "1"):
		return BoolValue(raw[0] == '1'), nil
	case c.Type == TypeInt && whole && isInt(raw):
		return Value{Int, raw}, nil
	case c.Type == TypeDecimal:
		return Value{Decimal, raw}, nil
	case c.Type == TypeFloat:
		return Value{Float, raw}, nil
	}
	return Value{}, wrong("a number is none of its values")
}

// dynamicNumber reads a number where the form alone tells what it is.
func dynamicNumber(raw []byte, whole bool) (Value, error) {
	if whole && isInt(raw) {
		if _, err := strconv.ParseInt(string(raw), 10, 64); err == nil {
			return Value{Int, raw}, nil
		}
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return Value{}, wrong("a number beyond all bounds")
	}
	return FloatValue(f), nil
}

// isInt tells whether a text is a whole number in its only form.
func isInt(text []byte) bool {
	if len(text) > 20 {
		return false
	}
	if n, err := strconv.ParseInt(string(text), 10, 64); err == nil {
		return string(text) == strconv.FormatInt(n, 10)
	}
	n, err := strconv.ParseUint(string(text), 10, 64)
	return err == nil && string(text) == strconv.FormatUint(n, 10)
}

func textOf(c *Column, text []byte) (Value, error) {
	if c.Dynamic {
		// A column that likes numbers holds no text that looks like one, so this is a number too large for JSON's readers.
		if (c.Type == TypeInt || c.Type == TypeDecimal || c.Type == TypeBool) && isBeyond(text) {
			return Value{Int, text}, nil
		}
		return Value{Text, text}, nil
	}
	switch c.Type {
	case TypeInt:
		if isInt(text) {
			return Value{Int, text}, nil
		}
		return Value{}, wrong("not a whole number")
	case TypeDecimal:
		if _, err := AppendKey(nil, OrderDecimal, Value{Decimal, text}); err != nil {
			return Value{}, wrong("not a decimal number")
		}
		return Value{Decimal, text}, nil
	case TypeFloat:
		if _, err := strconv.ParseFloat(string(text), 64); err != nil {
			return Value{}, wrong("not a number")
		}
		return Value{Float, text}, nil
	case TypeBool:
		return Value{}, wrong("not true or false")
	case TypeBytes:
		return Value{}, wrong(`bytes are written {"$b64":"…"}`)
	case TypeTime:
		if c.Clock != ClockNone && !looksLikeTime(text) {
			return Value{}, wrong("not a date or time")
		}
	case TypeText, TypeJSON, TypeOther:
	}
	return Value{Text, text}, nil
}

// isBeyond tells whether a text is a whole number that is written as a text because of its size.
func isBeyond(text []byte) bool {
	n, err := strconv.ParseInt(string(text), 10, 64)
	return err == nil && isInt(text) && (n > exactInt || n < -exactInt)
}

// looksLikeTime keeps out what no engine would take; the rest is the engine's to judge.
func looksLikeTime(text []byte) bool {
	_, err := AppendKey(nil, OrderTime, Value{Text, text})
	return err == nil
}

// document is JSON in a column of JSON, as a person may write it.
func document(c *Column, raw []byte) (Value, error) {
	if c.Type != TypeJSON {
		return Value{}, errForm
	}
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return Value{}, errNotJSON
	}
	return Value{Text, out.Bytes()}, nil
}

// parseForm reads an object that says what it is. ok is false for one that does not.
func parseForm(c *Column, raw []byte) (v Value, ok bool, err error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return v, false, errNotJSON
	}
	if len(object) != 1 {
		return v, false, nil
	}
	for name, content := range object {
		kinds := map[string]Kind{
			formInt: Int, formDecimal: Decimal, formFloat: Float, formBool: Bool, formText: Text, formBytes: Bytes, formBinText: Text,
		}
		kind, known := kinds[name]
		if !known || content[0] != '"' {
			return v, false, nil
		}
		text, err := unquote(content)
		if err != nil {
			return v, true, err
		}
		if name == formBytes || name == formBinText {
			if text, err = base64.StdEncoding.DecodeString(string(text)); err != nil {
				return v, true, errBase64
			}
			if name == formBytes && !c.Dynamic && c.Type != TypeBytes {
				kind = Text // bytes that are no UTF-8, in a column of text
			}
		}
		v = Value{kind, text}
		return v, true, formFits(c, v)
	}
	return v, false, nil
}

// formFits tells whether a value that says what it is can be one of a column's.
func formFits(c *Column, v Value) error {
	switch v.Kind {
	case Int:
		if !isInt(v.Text) {
			return wrong("not a whole number")
		}
	case Float:
		if _, err := strconv.ParseFloat(string(v.Text), 64); err != nil {
			return wrong("not a number")
		}
	case Decimal:
		if _, err := AppendKey(nil, OrderDecimal, v); err != nil {
			return wrong("not a decimal number")
		}
	case Bool:
		if s := string(v.Text); s != "true" && s != "false" {
			return wrong("not true or false")
		}
	case Null, Text, Bytes:
	}
	if c.Dynamic {
		return nil
	}
	fits := map[Type]Kind{TypeBool: Bool, TypeInt: Int, TypeDecimal: Decimal, TypeFloat: Float, TypeBytes: Bytes}
	kind, ok := fits[c.Type]
	if !ok {
		kind = Text
	}
	if v.Kind != kind {
		return wrong("none of its values")
	}
	return nil
}
