-- Windows and the outbox.
--
-- A window W is '@<id>' (shared by runs) or '<run> <step>' (a step's own). Its keys: wh: heads, the steps with waiting tasks
-- by the rank of their first; wo: what is out, '<run> <task>'; wg: revoked attempts until their leases end; wp: places
-- of growers, '<run> <step>'; wl: limits by '<run> <step>'. Only shared ones have the last two.
--
-- What waits in a step is kept in chunks, as it was added: lists of '<rank> <task>', the first first. A rank
-- is a weight, or above all weights. q: orders the chunks
-- by their heads. One sorted set of all tasks would be simpler, but miniredis sorts a set each time it is read.
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

local function shared(W) return string.sub(W, 1, 1) == '@' end

-- split cuts a text in two at its first space.
local function split(text)
  local i = string.find(text, ' ', 1, true)
  return string.sub(text, 1, i - 1), string.sub(text, i + 1)
end

-- add appends a chunk of '<rank> <task>' to what waits in a step.
local function add(run, step, list)
  local r = R(run)
  local chunk = string.format('%08d', call('HINCRBY', r .. ':S:' .. step, 'chunks', 1))
  call('RPUSH', r .. ':c:' .. chunk .. ':' .. step, unpack(list))
  call('ZADD', r .. ':q:' .. step, '-' .. split(list[1]), chunk)
end

-- take removes a step's heaviest waiting task and returns it, and whether the next is as heavy.
local function take(run, step)
  local r = R(run)
  local q = r .. ':q:' .. step
  local chunk = call('ZRANGE', q, 0, 0)[1]
  if not chunk then return nil end
  local list = r .. ':c:' .. chunk .. ':' .. step
  local weight, task = split(call('LPOP', list))
  local rest = call('LINDEX', list, 0)
  if not rest then
    call('ZREM', q, chunk)
    return task, false
  end
  local next_weight = split(rest)
  if next_weight == weight then return task, true end
  call('ZADD', q, '-' .. next_weight, chunk)
  return task, false
end

-- discard removes all that waits in a step.
local function discard(run, step)
  local r = R(run)
  for _, chunk in ipairs(call('ZRANGE', r .. ':q:' .. step, 0, -1)) do
    call('UNLINK', r .. ':c:' .. chunk .. ':' .. step)
  end
  call('UNLINK', r .. ':q:' .. step)
end

local function fresh(run, gen, step, W, task)
  local r = R(run)
  local packed = call('HGET', r .. ':spec:' .. step, task)
  local header = string.match(packed, '^[^\n]*')
  local att = gen .. '-' .. call('HINCRBY', r, 'n', 1)
  call('HSET', r .. ':t:' .. task, 'st', 'out', 'step', step, 'att', att, 'win', W, 'hd', header)
  call('SADD', P .. 'wo:' .. W, run .. ' ' .. task)
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

-- taken returns how much of a window is taken by tasks, revoked ones among them, how much by growers, and its limit.
local function taken(W)
  local tasks, places, limit = call('SCARD', P .. 'wo:' .. W), 0, DEFAULT_LIMIT
  if call('ZCARD', P .. 'wg:' .. W) > 0 then
    call('ZREMRANGEBYSCORE', P .. 'wg:' .. W, '-inf', now)
    tasks = tasks + call('ZCARD', P .. 'wg:' .. W)
  end
  if shared(W) then
    places = call('SCARD', P .. 'wp:' .. W)
    limit = tonumber(call('ZRANGE', P .. 'wl:' .. W, 0, 0, 'WITHSCORES')[2] or DEFAULT_LIMIT)
  end
  return tasks, places, limit
end

-- pump emits waiting tasks while the window has places. Beside growers there is always one place, or two holders could
-- starve each other. `todo` is the run whose todo takes what this call has no work left for.
local function pump(W, todo)
  local kh = P .. 'wh:' .. W
  local top = call('ZRANGE', kh, 0, 0)[1]
  if not top then return end
  local tasks, places, limit = taken(W)
  local run, step, st
  while top do
    if tasks > 0 and tasks + places >= limit then
      -- A revoked attempt's place comes free by time alone: the sweep must look.
      local ghost = call('ZRANGE', P .. 'wg:' .. W, 0, 0, 'WITHSCORES')
      if ghost[2] then call('ZADD', P .. 'due', ghost[2], W) end
      return
    end
    if work <= 0 then
      if todo then call('RPUSH', R(todo) .. ':todo', 'pump ' .. W) else call('ZADD', P .. 'due', now, W) end
      return
    end
    work = work - 1
    if not run then
      run, step = split(top)
      st = call('HMGET', R(run), 'st', 'gen')
    end
    local task, same
    if st[1] == 'running' then task, same = take(run, step) end
    if task then
      fresh(run, st[2], step, W, task)
      tasks = tasks + 1
    else
      call('ZREM', kh, top)
    end
    if not same then
      if task then head(run, step, W) end
      top, run = call('ZRANGE', kh, 0, 0)[1], nil
    end
  end
end
