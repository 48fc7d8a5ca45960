-- Steps, gates, attempts and the end of runs.
--
-- A step's propagation to others goes through the run's list `todo`: each call does a bounded part of it, callers repeat
-- `advance`, and the sweep goes on with what a dead caller left.

-- leave_window takes a step's claim on a shared window away.
local function leave_window(run, step, W)
  call('ZREM', P .. 'wh:' .. W, run .. ' ' .. step)
  if shared(W) then
    call('ZREM', P .. 'wl:' .. W, run .. ' ' .. step)
    call('SREM', R(run) .. ':wreg', W .. '\31' .. step)
  end
end

-- ghost lets a revoked attempt keep its place until its lease ends: it may still use its connection.
local function ghost(run, W, name, deadline)
  if deadline then call('ZADD', P .. 'wg:' .. W, deadline, run .. ' ' .. name) end
end

local function deadline_of(run, task) return call('ZSCORE', R(run) .. ':beat', task) end

-- give_places frees the places that a grower has in the windows of the steps it grows; one that may still live keeps them
-- as ghosts until its lease ends.
local function give_places(run, task, att, deadline)
  for _, d in ipairs(call('SMEMBERS', R(run) .. ':gr:' .. task)) do
    local W = call('HGET', R(run) .. ':S:' .. d, 'hw')
    if W then
      call('HDEL', R(run) .. ':S:' .. d, 'hw')
      call('SREM', P .. 'wp:' .. W, run .. ' ' .. d)
      ghost(run, W, d .. ' ' .. att, deadline)
      pump(W, run)
    end
  end
end

-- drop removes an attempt and its task's dynamic state. The caller pumps the window.
local function drop(run, task, step, W)
  local r = R(run)
  call('ZREM', r .. ':beat', task)
  call('ZREM', r .. ':out', task)
  call('SREM', r .. ':live:' .. step, task)
  call('SREM', P .. 'wo:' .. W, run .. ' ' .. task)
  call('DEL', r .. ':t:' .. task)
end

local function flag(header) return string.sub(header, 1, 1) end -- 'h' holder, 'g' grower, '-' neither

local function ended(st) return st == 'done' or st == 'failed' or st == 'unreachable' end

local function end_step(run, step, final)
  local r, k = R(run), R(run) .. ':S:' .. step
  local s = call('HMGET', k, 'win', 'holder')
  call('HSET', k, 'st', final, 'ended', now)
  call('SREM', r .. ':pending', step)
  leave_window(run, step, s[1])
  event(run, 'step ' .. final, step, '', '', '')
  if final ~= 'done' then call('HSET', r, 'bad', 1) end
  -- What a view's parts gave is proven only by their holder's clean end, and void if the view is lost: a held step that is
  -- done tells nobody before its holder has finished.
  if final ~= 'done' or s[2] == '' then
    call('HSET', k, 'told', 1)
    call('RPUSH', r .. ':todo', 'end ' .. step)
  end
  pump(s[1], run)
end

-- settle ends an open step that is closed and has nothing outstanding.
local function settle(run, step)
  local s = call('HMGET', R(run) .. ':S:' .. step, 'st', 'closed')
  if s[1] == 'open' and s[2] == '1' and
      call('HLEN', R(run) .. ':spec:' .. step) == call('LLEN', R(run) .. ':done:' .. step) then
    end_step(run, step, 'done')
  end
end

-- settle_failing ends a failing step once none of its attempts lives.
local function settle_failing(run, step)
  local s = call('HMGET', R(run) .. ':S:' .. step, 'st', 'final')
  if s[1] == 'failing' and call('SCARD', R(run) .. ':live:' .. step) == 0 then end_step(run, step, s[2]) end
end

-- fail_step begins the bad end of a step: what waits is dropped, what runs is told at its beat.
local function fail_step(run, step, final)
  local r, k = R(run), R(run) .. ':S:' .. step
  local s = call('HMGET', k, 'st', 'told', 'win')
  if s[2] or s[1] == 'failing' then return end
  call('HSET', k, 'st', 'failing', 'final', final)
  discard(run, step)
  call('ZREM', P .. 'wh:' .. s[3], run .. ' ' .. step)
  for _, task in ipairs(call('SMEMBERS', r .. ':live:' .. step)) do
    local t = call('HMGET', r .. ':t:' .. task, 'st', 'win', 'hd', 'att')
    if t[1] == 'out' then
      if flag(t[3]) ~= '-' then give_places(run, task, t[4]) end
      drop(run, task, step, t[2])
      if t[2] ~= s[3] then pump(t[2], run) end
    end
  end
  pump(s[3], run)
  settle_failing(run, step)
end

local function open_step(run, step)
  local k = R(run) .. ':S:' .. step
  local W = call('HGET', k, 'win')
  call('HSET', k, 'st', 'open', 'opened', now)
  event(run, 'step open', step, '', '', '')
  head(run, step, W)
  pump(W, run)
  settle(run, step)
end

-- enter opens a step unless its gate is full.
local function enter(run, step)
  local s = call('HMGET', R(run) .. ':S:' .. step, 'gate', 'glimit', 'until')
  if s[1] ~= '' and not call('HGET', R(run) .. ':S:' .. s[3], 'told') then
    local inside = R(run) .. ':g:' .. s[1]
    if call('SCARD', inside) >= tonumber(s[2]) then return false end
    call('SADD', inside, step)
  end
  open_step(run, step)
  return true
end

local function ready(run, step)
  local k = R(run) .. ':S:' .. step
  if call('HGET', k, 'st') ~= 'waiting' or call('HGET', R(run), 'st') ~= 'running' then return end
  if not enter(run, step) then
    call('HSET', k, 'st', 'gated')
    call('RPUSH', R(run) .. ':gw:' .. call('HGET', k, 'gate'), step)
  end
end

local function leave_gate(run, gate, step)
  call('SREM', R(run) .. ':g:' .. gate, step)
  if call('HGET', R(run), 'st') ~= 'running' then return end
  local waiting = R(run) .. ':gw:' .. gate
  while true do
    local y = call('LINDEX', waiting, 0)
    if not y then return end
    if call('HGET', R(run) .. ':S:' .. y, 'st') == 'gated' and not enter(run, y) then return end
    call('LPOP', waiting)
  end
end

-- tell_one tells one step that another, which it needs, has ended.
local function tell_one(run, step, st, x)
  local k = R(run) .. ':S:' .. x
  local s = call('HMGET', k, 'st', 'tolerant')
  if ended(s[1]) or s[1] == 'failing' then return end
  if st == 'done' or s[2] == '1' then
    call('SREM', R(run) .. ':need:' .. x, step)
    if call('SCARD', R(run) .. ':need:' .. x) == 0 then ready(run, x) end
  else
    fail_step(run, x, 'unreachable')
  end
end

-- tell_rest does what comes after all dependents were told: gates, and the steps that tasks of a failed step grow or hold.
local function tell_rest(run, step, st)
  local r = R(run)
  for _, m in ipairs(call('SMEMBERS', r .. ':lets:' .. step)) do
    local i = string.find(m, '\31', 1, true)
    leave_gate(run, string.sub(m, 1, i - 1), string.sub(m, i + 1))
  end
  if st == 'done' then return end
  for _, d in ipairs(call('SMEMBERS', r .. ':feeds:' .. step)) do
    local s = call('HMGET', r .. ':S:' .. d, 'closed', 'holder')
    if s[1] ~= '1' or s[2] ~= '' then fail_step(run, d, 'unreachable') end
  end
end

-- drain empties the outbox of a run that takes no new work, then gives back its shares in windows.
local function drain(run)
  local r = R(run)
  for _, task in ipairs(call('ZRANGE', r .. ':out', 0, 49)) do
    local t = call('HMGET', r .. ':t:' .. task, 'step', 'win', 'hd', 'att')
    if flag(t[3]) ~= '-' then give_places(run, task, t[4]) end
    drop(run, task, t[1], t[2])
    pump(t[2], run)
    settle_failing(run, t[1])
    work = work - 1
  end
  if call('ZCARD', r .. ':out') > 0 then return false end
  for _, m in ipairs(call('SRANDMEMBER', r .. ':wreg', 50)) do
    local i = string.find(m, '\31', 1, true)
    local W = string.sub(m, 1, i - 1)
    leave_window(run, string.sub(m, i + 1), W)
    pump(W, run)
    work = work - 1
  end
  return call('SCARD', r .. ':wreg') == 0
end

-- advance works through the run's todo.
local function advance(run)
  local r, todo = R(run), R(run) .. ':todo'
  while work > 0 do
    local item = call('LINDEX', todo, 0)
    if not item then return end
    work = work - 1
    local kind, name = split(item)
    local done = true
    if kind == 'open' then
      ready(run, name)
    elseif kind == 'drain' then
      done = drain(run)
    elseif kind == 'pump' then
      pump(name, run)
    else
      local st = call('HGET', r .. ':S:' .. name, 'st')
      local list = call('ZRANGE', r .. ':then:' .. name, 0, 49)
      for _, x in ipairs(list) do
        if work > 0 then
          work = work - 1
          call('ZREM', r .. ':then:' .. name, x)
          tell_one(run, name, st, x)
        end
      end
      done = #list == 0
      if done then tell_rest(run, name, st) end
    end
    if done then call('LPOP', todo) end
  end
end

-- try_end ends a run of which nothing lives any more. Nothing is left in its todo.
local function try_end(run)
  local r = R(run)
  local s = call('HMGET', r, 'st', 'bad')
  local final
  if s[1] == 'running' then
    final = s[2] and 'partial' or 'done'
    if call('SCARD', r .. ':pending') > 0 then return end
  elseif s[1] == 'stopping' then
    final = 'failed'
  elseif s[1] == 'cancelling' then
    final = 'cancelled'
  end
  if not final or call('ZCARD', r .. ':beat') > 0 then return end
  call('HSET', r, 'st', final, 'ended', now)
  call('SREM', P .. 'active', run)
  event(run, 'end', '', '', '', final)
end

local function record(run, failure)
  local r = R(run)
  call('HINCRBY', r, 'failures', 1)
  if call('LLEN', r .. ':fail') < 100 then call('RPUSH', r .. ':fail', failure) end
end

local function stop(run, st)
  call('HSET', R(run), 'st', st)
  event(run, st, '', '', '', '')
  call('RPUSH', R(run) .. ':todo', 'drain -')
end

-- kill fails a task for good. deadline is the end of the lease of an attempt that did not end by its own word.
local function kill(run, task, t, failure, deadline)
  local r = R(run)
  record(run, failure)
  if flag(t.hd) ~= '-' then give_places(run, task, t.att, deadline) end
  drop(run, task, t.step, t.win)
  ghost(run, t.win, task .. ' ' .. t.att, deadline)
  pump(t.win, run)
  if t.tok then call('HSET', r .. ':S:' .. t.step, 'ktok', t.tok) end
  event(run, 'failed', t.step, task, t.worker or '', failure)
  fail_step(run, t.step, 'failed')
  settle_failing(run, t.step)
  local s = call('HMGET', r, 'st', 'policy')
  if s[1] == 'running' and s[2] == 'stop' then stop(run, 'stopping') end
end

-- requeue makes a task ready again under a new attempt, after a delay in milliseconds.
local function requeue(run, task, header, delay)
  local r = R(run)
  local att = call('HGET', r, 'gen') .. '-' .. call('HINCRBY', r, 'n', 1)
  call('HSET', r .. ':t:' .. task, 'st', 'out', 'att', att)
  call('ZREM', r .. ':beat', task)
  if delay > 0 then
    call('ZADD', r .. ':out', now + delay, task)
  else
    call('ZADD', r .. ':out', now + REEMIT, task)
    emission(run, task, att, header)
  end
end

-- empty takes everything out of a held step. Its running attempts keep their places until their leases end.
local function empty(run, step, epoch)
  local r, k = R(run), R(run) .. ':S:' .. step
  local s = call('HMGET', k, 'st', 'win', 'weight', 'weight_done', 'entries', 'bytes')
  for _, task in ipairs(call('SMEMBERS', r .. ':live:' .. step)) do
    local t = call('HMGET', r .. ':t:' .. task, 'st', 'win', 'att')
    local deadline = deadline_of(run, task)
    drop(run, task, step, t[2])
    ghost(run, t[2], task .. ' ' .. t[3], deadline)
  end
  for f, n in pairs({tasks = call('HLEN', r .. ':spec:' .. step), tasks_done = call('LLEN', r .. ':done:' .. step),
    weight = s[3], weight_done = s[4], entries = s[5], bytes = s[6]}) do
    if n and tonumber(n) ~= 0 then call('HINCRBY', r, f, '-' .. n) end
  end
  discard(run, step)
  for _, kind in ipairs({':spec:', ':live:', ':fin:', ':done:'}) do call('UNLINK', r .. kind .. step) end
  call('HDEL', k, 'weight', 'weight_done', 'entries', 'bytes')
  leave_window(run, step, s[2])
  pump(s[2], run)
  call('HSET', k, 'epoch', epoch, 'closed', 0, 'win', run .. ' ' .. step)
  if s[1] == 'done' then
    call('HSET', k, 'st', 'open')
    call('SADD', r .. ':pending', step)
  end
end

-- task reads a task's dynamic state.
local function state_of(run, task)
  local t = call('HMGET', R(run) .. ':t:' .. task, 'st', 'tok', 'step', 'win', 'hd', 'att', 'worker', 'ftok', 'host')
  return {st = t[1], tok = t[2], step = t[3], win = t[4], hd = t[5], att = t[6], worker = t[7], ftok = t[8], host = t[9]}
end

-- reopen gives a holder and the steps it holds a new epoch. `lost` is the failure where this counts against the limit on
-- epochs; deadline is the end of the lease of a holder that did not end by its own word.
local function reopen(run, holder, delay, lost, max, deadline)
  local r = R(run)
  local t = state_of(run, holder)
  -- Where the holder's own step is failing, so will what it holds.
  if not t.st or call('HGET', r .. ':S:' .. t.step, 'st') == 'failing' then return end
  if lost and call('HINCRBY', r .. ':t:' .. holder, 'lost', 1) >= max then
    kill(run, holder, t, lost, deadline)
    return
  end
  local epoch = call('HINCRBY', r .. ':t:' .. holder, 'epoch', 1) + 1
  give_places(run, holder, t.att, deadline)
  for _, d in ipairs(call('SMEMBERS', r .. ':gr:' .. holder)) do
    local s = call('HMGET', r .. ':S:' .. d, 'holder', 'st')
    if s[1] == holder and s[2] ~= 'failed' and s[2] ~= 'unreachable' and s[2] ~= 'failing' then empty(run, d, epoch) end
  end
  call('HDEL', r .. ':t:' .. holder, 'tok', 'ckpt', 'worker', 'e', 'b')
  ghost(run, t.win, holder .. ' ' .. t.att, deadline)
  call('HINCRBY', r, 'epochs', 1)
  event(run, 'epoch', t.step, holder, t.worker or '', tostring(epoch))
  requeue(run, holder, t.hd, delay)
end

-- answer ends a script that may have emitted.
local function answer(run, status)
  local todo = R(run) .. ':todo'
  local left = call('LLEN', todo)
  if left > 0 then
    advance(run)
    left = call('LLEN', todo)
  end
  if left == 0 then try_end(run) end
  local reply = {status, left > 0 and 1 or 0}
  for i, v in ipairs(emitted) do reply[i + 2] = v end
  return reply
end
