-- Windows and the outbox.
--
-- A window W is '@<id>' (shared by runs) or '<run> <step>' (a step's own). Its keys: wh: heads, the steps with waiting tasks
-- by the weight of their heaviest; wo: what is out, '<run> <task>' for ever or '<run> <task> <attempt>' (a revoked attempt)
-- until its lease ends; wp: places of growers, '<run> <step>'; wl: limits by '<run> <step>'.
local emitted = {}  -- run, task, attempt, header, and so on
local work = 200    -- picks and steps that this call may still do; what remains is left in the run's todo
local DEFAULT_LIMIT = 256

local function emission(run, task, att, header)
  local n = #emitted
  emitted[n + 1], emitted[n + 2], emitted[n + 3], emitted[n + 4] = run, task, att, header
end

local function event(run, kind, step, task, worker, text)
  call('XADD', R(run) .. ':ev', 'MAXLEN', 5000, '*', 'k', kind, 's', step, 't', task, 'w', worker, 'm', text)
end

-- member splits '<run> <rest>'. A run's id holds no space.
local function split(member)
  local i = string.find(member, ' ', 1, true)
  return string.sub(member, 1, i - 1), string.sub(member, i + 1)
end

local function fresh(run, gen, step, W, task)
  local r = R(run)
  local packed = call('HGET', r .. ':spec:' .. step, task)
  local header = string.match(packed, '^[^\n]*')
  local att = gen .. '-' .. call('HINCRBY', r, 'n', 1)
  call('HSET', r .. ':t:' .. task, 'st', 'out', 'step', step, 'att', att, 'win', W, 'hd', header)
  call('ZADD', P .. 'wo:' .. W, '+inf', run .. ' ' .. task)
  call('SADD', r .. ':live:' .. step, task)
  call('ZADD', r .. ':out', now + REEMIT, task)
  emission(run, task, att, header)
end

-- head enters a step's heaviest waiting task into its window, or takes the step out where nothing waits.
local function head(run, step, W)
  local first = call('ZRANGE', R(run) .. ':q:' .. step, 0, 0, 'WITHSCORES')
  if first[1] then
    call('ZADD', P .. 'wh:' .. W, first[2], run .. ' ' .. step)
  else
    call('ZREM', P .. 'wh:' .. W, run .. ' ' .. step)
  end
end

-- pump emits waiting tasks while the window has places. Beside growers there is always one place, or two holders could
-- starve each other. `todo` is the run whose todo takes what this call has no work left for.
local function pump(W, todo)
  local kh, ko = P .. 'wh:' .. W, P .. 'wo:' .. W
  local top = call('ZRANGE', kh, 0, 0)[1]
  if not top then return true end
  call('ZREMRANGEBYSCORE', ko, '-inf', now)
  local limit = tonumber(call('ZRANGE', P .. 'wl:' .. W, 0, 0, 'WITHSCORES')[2] or DEFAULT_LIMIT)
  local used, places = call('ZCARD', ko), call('SCARD', P .. 'wp:' .. W)
  while top do
    if used > 0 and used + places >= limit then
      -- A revoked attempt's place comes free by time alone: the sweep must look.
      local ghost = call('ZRANGEBYSCORE', ko, now, now + 1e12, 'WITHSCORES', 'LIMIT', 0, 1)
      if ghost[2] then call('ZADD', P .. 'due', ghost[2], W) end
      return true
    end
    if work <= 0 then
      if todo then call('RPUSH', R(todo) .. ':todo', 'pump ' .. W) else call('ZADD', P .. 'due', now, W) end
      return false
    end
    work = work - 1
    local run, step = split(top)
    local st = call('HMGET', R(run), 'st', 'gen')
    local task = st[1] == 'running' and call('ZPOPMIN', R(run) .. ':q:' .. step)[1]
    if task then
      fresh(run, st[2], step, W, task)
      used = used + 1
      head(run, step, W)
    else
      call('ZREM', kh, top)
    end
    top = call('ZRANGE', kh, 0, 0)[1]
  end
  return true
end
