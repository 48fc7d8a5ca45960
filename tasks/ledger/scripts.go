package ledger

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// The scripts' texts. core.lua, pump.lua and steps.lua are put before those that need them.
var (
	//go:embed lua/core.lua
	coreLua string
	//go:embed lua/pump.lua
	pumpLua string
	//go:embed lua/steps.lua
	stepsLua string

	//go:embed lua/advance.lua
	advanceLua string
	//go:embed lua/beat.lua
	beatLua string
	//go:embed lua/cancel.lua
	cancelLua string
	//go:embed lua/claim.lua
	claimLua string
	//go:embed lua/create.lua
	createLua string
	//go:embed lua/fail.lua
	failLua string
	//go:embed lua/finish.lua
	finishLua string
	//go:embed lua/grow.lua
	growLua string
	//go:embed lua/nudge.lua
	nudgeLua string
	//go:embed lua/put.lua
	putLua string
	//go:embed lua/start.lua
	startLua string
	//go:embed lua/sweep.lua
	sweepLua string
	//go:embed lua/turn.lua
	turnLua string
)

// The scripts, one for each transition.
var (
	createScript  = redis.NewScript(coreLua + createLua)
	putScript     = redis.NewScript(putLua)
	startScript   = redis.NewScript(coreLua + pumpLua + stepsLua + startLua)
	claimScript   = redis.NewScript(coreLua + claimLua)
	beatScript    = redis.NewScript(coreLua + beatLua)
	growScript    = redis.NewScript(coreLua + pumpLua + stepsLua + growLua)
	finishScript  = redis.NewScript(coreLua + pumpLua + stepsLua + finishLua)
	failScript    = redis.NewScript(coreLua + pumpLua + stepsLua + failLua)
	cancelScript  = redis.NewScript(coreLua + pumpLua + stepsLua + cancelLua)
	nudgeScript   = redis.NewScript(coreLua + pumpLua + stepsLua + nudgeLua)
	advanceScript = redis.NewScript(coreLua + pumpLua + stepsLua + advanceLua)
	turnScript    = redis.NewScript(coreLua + pumpLua + turnLua)
	sweepScript   = redis.NewScript(coreLua + pumpLua + stepsLua + sweepLua)
)
