package main

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"

	"salvor/archive"
	"salvor/drivers"
	"salvor/internal/secret"
	"salvor/tasks"
)

// warnNested says so where an archive lies inside a directory or a bucket that is dumped: each dump would hold the ones before.
// Nodes with options may exclude it.
func (a *app) warnNested(ctx context.Context, store *archive.Archive, location string, root *tasks.Node) {
	place, err := a.resolve(location)
	if err != nil {
		return // the archive was opened, so this cannot be
	}
	for path, n := range root.Walk() {
		if n.Driver == "" || len(n.Options) > 0 {
			continue
		}
		kind, err := a.registry.Lookup(n.Driver)
		if err != nil || kind.Shape != drivers.ShapeTree {
			continue
		}
		source, err := a.resolve(n.Source)
		if err != nil {
			continue
		}
		if !liesBelow(store.Location(), source.Reveal()) && !inBucket(ctx, kind, place, source) {
			continue
		}
		a.console.problem("warning", fmt.Sprintf("the archive lies inside node %s, which dumps it too", path))
		a.console.problem("hint", "exclude it, or keep the archive elsewhere")
	}
}

// liesBelow tells whether a path is another one, or lies below it.
func liesBelow(place, source string) bool {
	source = strings.TrimPrefix(source, "file://")
	if !filepath.IsAbs(place) || !filepath.IsAbs(source) {
		return false
	}
	below, err := filepath.Rel(source, place)
	return err == nil && below != ".." && !strings.HasPrefix(below, "../")
}

// inBucket tells whether an archive's objects are among those of a source. Their driver says what a place is; it sends no
// request for that.
func inBucket(ctx context.Context, kind drivers.Kind, place, source secret.Text) bool {
	one, err := url.Parse(place.Reveal())
	if err != nil || one.Host == "" {
		return false
	}
	other, err := url.Parse(source.Reveal())
	if err != nil || one.Scheme != other.Scheme || one.Host != other.Host {
		return false
	}
	for _, outer := range identitiesOf(ctx, kind, source) {
		for _, inner := range identitiesOf(ctx, kind, place) {
			if strings.HasPrefix(inner, outer) {
				return true
			}
		}
	}
	return false
}

// identitiesOf returns what names a bucket's place; nil where the driver cannot tell.
func identitiesOf(ctx context.Context, kind drivers.Kind, source secret.Text) []string {
	opened, err := kind.Open(ctx, drivers.Spec{Source: source})
	if err != nil {
		return nil
	}
	defer opened.Close() //nolint:errcheck // nothing was done with it
	if _, ok := opened.(drivers.Bucket); !ok {
		return nil
	}
	ids, err := opened.Identities(ctx)
	if err != nil {
		return nil
	}
	return ids
}
