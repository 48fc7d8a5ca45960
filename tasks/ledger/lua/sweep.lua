-- sweep: deaths, epochs, 1 for the first call of a turn.
local run, deaths, epochs = ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local r = R(run)
local s = call('HMGET', r, 'st', 'swept')
if not s[1] then
  call('SREM', P .. 'active', run)
  return {'norun'}
end
local beat = r .. ':beat'
if ARGV[7] == '1' then
  -- Where nobody swept for long, Redis was away and nobody could beat.
  if now - (s[2] or 0) > LEASE / 2 then
    for _, task in ipairs(call('ZRANGE', beat, 0, -1)) do call('ZADD', beat, now + LEASE, task) end
  end
  call('HSET', r, 'swept', now)
end
for _, task in ipairs(call('ZRANGEBYSCORE', beat, '-inf', now, 'LIMIT', 0, 20)) do
  local t = state_of(run, task)
  local step = t.st and call('HGET', r .. ':S:' .. t.step, 'st')
  work = work - 10
  if t.st then
    call('HINCRBY', r, 'deaths', 1)
    event(run, 'death', t.step, task, t.worker or '', '')
  end
  if not t.st then
    call('ZREM', beat, task) -- a death before it in this list took it away
  elseif s[1] ~= 'running' or step == 'failing' then
    if flag(t.hd) ~= '-' then give_places(run, task, t.att) end
    drop(run, task, t.step, t.win)
    pump(t.win, run)
    settle_failing(run, t.step)
  else
    local node = call('HGET', r .. ':S:' .. t.step, 'node')
    local words = '\31' .. task .. '\31' .. node .. '\31' .. (t.worker or '')
    if call('HINCRBY', r .. ':t:' .. task, 'deaths', 1) >= deaths then
      kill(run, task, t, 'deaths' .. words)
    elseif flag(t.hd) == 'h' then
      call('ZREM', beat, task)
      reopen(run, task, 0, 'epochs' .. words, epochs)
    else
      requeue(run, task, t.hd, 0)
    end
    s[1] = call('HGET', r, 'st')
  end
end
if s[1] == 'running' then
  for _, task in ipairs(call('ZRANGEBYSCORE', r .. ':out', '-inf', now, 'LIMIT', 0, 250)) do
    local t = call('HMGET', r .. ':t:' .. task, 'att', 'hd')
    call('ZADD', r .. ':out', now + REEMIT, task)
    emission(run, task, t[1], t[2])
  end
end
local reply = answer(run, 'ok')
if call('ZCOUNT', beat, '-inf', now) > 0 or call('ZCOUNT', r .. ':out', '-inf', now) > 0 then reply[2] = 1 end
return reply
