package queue

import (
	"fmt"
	"log/slog"
)

// logger gives asynq's messages to slog.
type logger struct{ log *slog.Logger }

// Debug implements asynq.Logger.
func (l logger) Debug(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }

// Info implements asynq.Logger. What asynq finds worth telling is detail here.
func (l logger) Info(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }

// Warn implements asynq.Logger. The ledger handles what asynq warns of.
func (l logger) Warn(args ...any) { l.log.Debug("asynq", "message", fmt.Sprint(args...)) }

// Error implements asynq.Logger.
func (l logger) Error(args ...any) { l.log.Warn("asynq", "message", fmt.Sprint(args...)) }

// Fatal implements asynq.Logger. asynq calls it where its own command would end the program; this one does not.
func (l logger) Fatal(args ...any) { l.log.Error("asynq", "message", fmt.Sprint(args...)) }
