package declared

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"salvor/drivers/relational"
)

// contentTypes is Django's table of models.
const contentTypes = "django_content_type"

// ContentType is a model as a database of Django's has it.
type ContentType struct {
	// Schema is that of the table of models, in which the models' own tables are too.
	Schema string
	// ID is the number by which generic keys name the model, as text.
	ID         string
	App, Model string
}

// table is the model's table, where nothing else was said in its code. Django says it of some of its own.
func (c *ContentType) table() relational.Name {
	name := strings.ToLower(c.App + "_" + c.Model)
	switch c.App + "." + c.Model {
	case "contenttypes.contenttype":
		name = contentTypes
	case "admin.logentry":
		name = "django_admin_log"
	case "sessions.session", "sites.site", "redirects.redirect", "flatpages.flatpage":
		name = "django_" + c.Model
	}
	return relational.Name{Schema: c.Schema, Name: name}
}

// ReadContentTypes reads the models that Django has noted in a database, sorted by schema, app and model; none where it is not
// Django's. A table of another form is passed over.
func ReadContentTypes(ctx context.Context, v relational.View) ([]ContentType, error) {
	m, err := v.Model(ctx)
	if err != nil {
		return nil, err
	}
	var list []ContentType
	for _, t := range m.Tables {
		if t.Name.Name != contentTypes {
			continue
		}
		places := t.Indexes([]string{"id", "app_label", "model"})
		if slices.Contains(places, -1) {
			continue
		}
		err := scan(ctx, v, t, func(values []relational.Value) {
			list = append(list, ContentType{
				Schema: t.Schema, ID: string(values[places[0]].Text), App: string(values[places[1]].Text), Model: string(values[places[2]].Text),
			})
		})
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", t.Name, err)
		}
	}
	slices.SortFunc(list, func(a, b ContentType) int {
		return cmp.Or(strings.Compare(a.Schema, b.Schema), strings.Compare(a.App, b.App), strings.Compare(a.Model, b.Model), strings.Compare(a.ID, b.ID))
	})
	return list, nil
}

func scan(ctx context.Context, v relational.View, t *relational.Table, do func([]relational.Value)) (err error) {
	rows, err := v.Scan(ctx, relational.Scan{Table: t})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for {
		row, err := rows.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		do(row.Values)
	}
}

// labels are Django's names of tables: those of the models, and those of the tables of links that Django makes for a model's field.
func labels(m *relational.Model, types []ContentType, said map[relational.Name]relational.Label) []relational.Label {
	byTable := make(map[relational.Name]relational.Label)
	for i := range types {
		c := &types[i]
		taken := func(l relational.Label) bool {
			return l.App == c.App && l.Model == c.Model && l.Table.Schema == c.Schema
		}
		if name := c.table(); m.Table(name) != nil && !slices.ContainsFunc(slices.Collect(maps.Values(said)), taken) {
			byTable[name] = relational.Label{Table: name, App: c.App, Model: c.Model}
		}
	}
	maps.Copy(byTable, said)
	var list []relational.Label
	for _, t := range m.Tables {
		if l, ok := byTable[t.Name]; ok {
			list = append(list, l)
		} else if l, ok := link(t, byTable); ok {
			list = append(list, l)
		}
	}
	return list
}

// link tells which model's table of links a table is: it has two references, the columns of these and a number of its own, and the
// name of a model's table and of a field.
func link(t *relational.Table, models map[relational.Name]relational.Label) (relational.Label, bool) {
	if len(t.Foreign) != 2 || len(t.Columns) > 3 {
		return relational.Label{}, false
	}
	for _, e := range t.Foreign {
		owner, ok := models[e.Parent]
		if field, cut := strings.CutPrefix(t.Name.Name, e.Parent.Name+"_"); ok && cut && e.Parent.Schema == t.Schema {
			return relational.Label{Table: t.Name, App: owner.App, Model: owner.Model + "_" + field}, true
		}
	}
	return relational.Label{}, false
}
