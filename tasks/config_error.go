package tasks

import "salvor/internal/yamltree"

// ConfigError is returned by Parse and FromSources with everything that is wrong with a set. It holds no source's text, as that may be
// a secret.
type ConfigError = yamltree.Error

// ConfigProblem is one thing that is wrong with a set.
type ConfigProblem = yamltree.Problem
