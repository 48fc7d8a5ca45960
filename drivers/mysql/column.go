package mysql

import (
	"slices"
	"strings"
)

// columnKind says how the values of a column are read and written. It is stored in manifests: names and meanings never change.
type columnKind string

const (
	kindBytes  columnKind = ""       // any bytes, in the column's own character set
	kindNumber columnKind = "number" // digits
	kindTime   columnKind = "time"   // dates and times
	kindFloat  columnKind = "float"  // a FLOAT, read as the DOUBLE that it is, with all its bits
	kindYear   columnKind = "year"   // read as text: the number 0 would be 2000
	kindEnum   columnKind = "enum"   // by number, so that every value comes back, the empty one of an error too
	kindSet    columnKind = "set"    // by number
	kindText   columnKind = "text"   // ASCII or UTF-8 that the server takes as text only: UUID, INET6
	kindJSON   columnKind = "json"   // of MySQL: as the server makes it of its text, in which some types have no form of their own
)

// isPlain tells that values have no byte to escape.
func (k columnKind) isPlain() bool { return k != kindBytes && k != kindText && k != kindJSON }

// isConverted tells that values are written by an expression.
func (k columnKind) isConverted() bool {
	return k == kindEnum || k == kindSet || k == kindText || k == kindJSON
}

// isKnown tells whether this version knows the kind: what is not known would be loaded as something else.
func (k columnKind) isKnown() bool {
	switch k {
	case kindBytes, kindNumber, kindTime, kindFloat, kindYear, kindEnum, kindSet, kindText, kindJSON:
		return true
	}
	return false
}

// column is one of those that are dumped.
type column struct {
	Name string     `json:"name"`
	Kind columnKind `json:"kind,omitempty"`
}

// kindOf finds the kind of a column by its type.
func kindOf(s dialect, dataType string) columnKind {
	switch strings.ToLower(dataType) {
	case "tinyint", "smallint", "mediumint", "int", "integer", "bigint", "decimal", "numeric", "double", "real", "boolean":
		return kindNumber
	case "float":
		return kindFloat
	case "year":
		return kindYear
	case "date", "datetime", "timestamp", "time":
		return kindTime
	case "enum":
		return kindEnum
	case "set":
		return kindSet
	case "uuid", "inet4", "inet6", "xmltype":
		return kindText
	case "json":
		if s.flavour == mysqlServer {
			return kindJSON
		}
	}
	return kindBytes
}

// selectSQL is the expression that reads a column.
func (c column) selectSQL(s dialect) string {
	name := ident(c.Name)
	switch c.Kind {
	case kindFloat:
		return s.doubleSQL(name)
	case kindYear:
		return "CAST(" + name + " AS CHAR)"
	case kindEnum, kindSet:
		return "CAST(" + name + " AS UNSIGNED)"
	case kindJSON:
		if s.flavour == mariadb {
			return name // a text there: of a dump of MySQL that was restored into MariaDB
		}
		return "CAST(CAST(" + name + " AS CHAR) AS JSON)"
	case kindBytes, kindNumber, kindTime, kindText:
	}
	return name
}

// selectList reads all columns of a row; of a table that has none to name it gives an empty value.
func selectList(s dialect, columns []column) string {
	if len(columns) == 0 {
		return "''"
	}
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = c.selectSQL(s)
	}
	return strings.Join(list, ", ")
}

// loadList is what stands behind a LOAD DATA: where each value goes, and what is made of those that need it. Where there is a SET,
// numbers go by it too: MariaDB heeds NO_AUTO_VALUE_ON_ZERO then only of a column that SET names, and would number the row 0 anew.
func loadList(columns []column) string {
	if len(columns) == 0 {
		return "(@c0)"
	}
	assigned := slices.ContainsFunc(columns, func(c column) bool { return c.Kind.isConverted() })
	var into, set []string
	for i, c := range columns {
		variable := "@c" + itoa(i)
		switch c.Kind {
		case kindEnum, kindSet:
			into = append(into, variable)
			set = append(set, ident(c.Name)+" = CAST("+variable+" AS UNSIGNED)")
		case kindText, kindJSON:
			into = append(into, variable)
			set = append(set, ident(c.Name)+" = CONVERT("+variable+" USING utf8mb4)")
		case kindNumber, kindFloat:
			if assigned {
				into = append(into, variable)
				set = append(set, ident(c.Name)+" = "+variable)
				continue
			}
			into = append(into, ident(c.Name))
		case kindBytes, kindTime, kindYear:
			into = append(into, ident(c.Name))
		}
	}
	sql := "(" + strings.Join(into, ", ") + ")"
	if len(set) > 0 {
		sql += " SET " + strings.Join(set, ", ")
	}
	return sql
}

// insertSQL writes a value as a literal for INSERT that means the same as in LOAD DATA.
func (c column) insertSQL(to, value []byte) []byte {
	if value == nil {
		return append(to, "NULL"...)
	}
	switch c.Kind {
	case kindNumber, kindTime, kindFloat, kindYear:
		if isHarmless(value) {
			to = append(to, '\'')
			to = append(to, value...)
			return append(to, '\'')
		}
		return appendHex(to, value)
	case kindEnum, kindSet:
		to = append(to, "CAST('"...)
		if isHarmless(value) {
			to = append(to, value...)
		}
		return append(to, "' AS UNSIGNED)"...)
	case kindText, kindJSON:
		to = append(to, "CONVERT("...)
		return append(appendHex(to, value), " USING utf8mb4)"...)
	case kindBytes:
	}
	return appendHex(to, value)
}

func appendHex(to, value []byte) []byte {
	const digits = "0123456789abcdef"
	to = append(to, "X'"...)
	for _, b := range value {
		to = append(to, digits[b>>4], digits[b&15])
	}
	return append(to, '\'')
}

// isHarmless tells that a value is of the characters that numbers and times are made of.
func isHarmless(value []byte) bool {
	for _, c := range value {
		if (c < '0' || c > '9') && strings.IndexByte("+-.:eE ", c) < 0 {
			return false
		}
	}
	return true
}
