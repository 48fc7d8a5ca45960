//go:build race

package main

// mediaCount is how many objects TestMedia takes under the race detector, which makes each some ten times as dear.
const mediaCount = 500
