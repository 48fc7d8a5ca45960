//go:build !race

package main

// mediaCount is how many objects TestMedia takes.
const mediaCount = 10_000
