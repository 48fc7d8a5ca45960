package relational_test

import (
	"testing"

	"salvor/drivers/relational"
)

func TestConvert(t *testing.T) {
	t.Parallel()
	column := func(typ relational.Type, sql string) *relational.Column {
		return &relational.Column{Name: "c", Type: typ, SQL: sql}
	}
	tests := []struct {
		value  relational.Value
		column *relational.Column
		want   string // "-" for what the column cannot hold
	}{
		{relational.TextValue("5"), column(relational.TypeInt, "bigint"), "5"},
		{relational.TextValue("05"), column(relational.TypeInt, "bigint"), "-"},
		{relational.TextValue("five"), column(relational.TypeInt, "bigint"), "-"},
		{relational.TextValue("2147483648"), column(relational.TypeInt, "integer"), "-"},
		{relational.TextValue("32768"), column(relational.TypeInt, "smallint"), "-"},
		{relational.TextValue("18446744073709551615"), column(relational.TypeInt, "bigint"), "-"},
		{relational.TextValue("18446744073709551615"), column(relational.TypeInt, "bigint(20) unsigned"), "18446744073709551615"},
		{text(relational.Decimal, "5.00"), column(relational.TypeInt, "bigint"), "5"},
		{text(relational.Decimal, "5.5"), column(relational.TypeInt, "bigint"), "-"},
		{relational.IntValue(5), column(relational.TypeText, "text"), "5"},
		{relational.BytesValue([]byte("5")), column(relational.TypeText, "text"), "-"},
		{relational.IntValue(5), column(relational.TypeDecimal, "numeric"), "5"},
		{relational.TextValue("x"), column(relational.TypeDecimal, "numeric"), "-"},
		{relational.TextValue("A0EEBC999C0B4EF8BB6D6BB9BD380A11"), column(relational.TypeOther, "uuid"), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
		{relational.TextValue("12"), column(relational.TypeOther, "uuid"), "-"},
		{relational.TextValue("soon"), column(relational.TypeTime, "date"), "-"},
		{relational.TextValue("2026-11-30"), column(relational.TypeTime, "date"), "2026-11-30"},
		{relational.Value{}, column(relational.TypeInt, "bigint"), "-"},
	}
	for _, test := range tests {
		got, ok := relational.Convert(test.value, test.column)
		if ok != (test.want != "-") || ok && string(got.Text) != test.want {
			t.Errorf("%q for %s: %q, %v", test.value.Text, test.column.SQL, got.Text, ok)
		}
	}
}
