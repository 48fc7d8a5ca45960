package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// oldest is the oldest usable version of Redis.
const oldestMajor, oldestMinor = 6, 2

// check makes sure that a server answers, is new enough, and keeps what it is given.
func check(ctx context.Context, client redis.UniversalClient, where string) error {
	if err := client.Ping(ctx).Err(); err != nil {
		return explain(err, where)
	}
	info, err := client.Info(ctx, "server", "memory").Result()
	if err != nil && strings.Contains(err.Error(), "syntax error") {
		info, err = client.Info(ctx).Result() // before Redis 7 it takes one section
	}
	if err != nil {
		return explain(err, where)
	}
	fields := make(map[string]string)
	for line := range strings.Lines(info) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			fields[name] = value
		}
	}
	if err := fitVersion(fields["redis_version"], where); err != nil {
		return err
	}
	// With such a policy a full server drops keys that have no time to live: the ledger.
	if policy := fields["maxmemory_policy"]; strings.HasPrefix(policy, "allkeys-") && fields["maxmemory"] != "0" {
		return &openError{
			ErrUnfit, where + " drops data when its memory is full (maxmemory-policy " + policy + ")",
			"set maxmemory-policy noeviction, or use another Redis",
		}
	}
	return nil
}

func fitVersion(version, where string) error {
	words := strings.SplitN(version, ".", 3)
	if len(words) < 2 {
		return nil // not told: a proxy, a fork
	}
	major, err := strconv.Atoi(words[0])
	minor, err2 := strconv.Atoi(words[1])
	if err != nil || err2 != nil {
		return nil //nolint:nilerr // not told
	}
	if major > oldestMajor || major == oldestMajor && minor >= oldestMinor {
		return nil
	}
	return &openError{
		ErrUnfit, fmt.Sprintf("%s is Redis %s", where, version),
		fmt.Sprintf("Redis %d.%d or newer is needed", oldestMajor, oldestMinor),
	}
}

// explain translates a client's error.
func explain(err error, where string) error {
	var answer redis.Error
	switch {
	case redis.IsAuthError(err), redis.HasErrorPrefix(err, "WRONGPASS"), redis.HasErrorPrefix(err, "NOAUTH"),
		redis.HasErrorPrefix(err, "invalid password"), redis.HasErrorPrefix(err, "AUTH "),
		errors.As(err, &answer) && strings.Contains(err.Error(), "without any password"):
		return &openError{ErrDenied, where + " refuses the user or the password", "look at the user and password in the queue's URL"}
	case redis.IsPermissionError(err):
		return &openError{
			ErrDenied, where + " does not let this user do what is needed: " + err.Error(),
			"give the user all commands on the keys {salvor*}:* and asynq:*, and the channel asynq:cancel",
		}
	case errors.As(err, &answer):
		return &openError{ErrUnfit, where + " answers: " + err.Error(), "look at the server's log"}
	default:
		return &openError{
			ErrUnreachable, where + ": " + err.Error(),
			"is Redis running there, and can this machine reach it? Without a queue in the set, the tasks stay in this process",
		}
	}
}
