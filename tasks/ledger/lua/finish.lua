-- finish: task, token, step, result, entries, bytes.
local run, task, tok, step = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local r = R(run)
if call('EXISTS', r) == 0 then return {'norun'} end
local fin = call('HGET', r .. ':fin:' .. step, task)
if fin then
  if string.sub(fin, 1, 32) == tok then return answer(run, 'ok') end
  return {'stale'}
end
local t = state_of(run, task)
-- An attempt that the sweep gave up counts if it ends before another claimed.
if t.tok ~= tok then return {'stale'} end
local kind = flag(t.hd)
if kind == 'h' then
  for _, d in ipairs(call('SMEMBERS', r .. ':gr:' .. task)) do
    local s = call('HMGET', r .. ':S:' .. d, 'holder', 'st')
    if s[1] == task and not ended(s[2]) then return {'held'} end
  end
end
call('HSET', r .. ':fin:' .. step, task, tok .. ARGV[8])
call('RPUSH', r .. ':done:' .. step, task)
local S = r .. ':S:' .. step
call('HINCRBY', r, 'tasks_done', 1)
local weight = string.match(t.hd, '\31(%d+)$')
for f, n in pairs({weight_done = weight, entries = ARGV[9], bytes = ARGV[10]}) do
  if n ~= '0' then
    call('HINCRBY', r, f, n)
    call('HINCRBY', S, f, n)
  end
end
local about = call('HMGET', S, 'node', 'kind', 'st')
call('HINCRBY', r .. ':wk', t.worker .. '\31' .. about[1] .. '\31' .. about[2] .. '\31' .. (t.host or ''), 1)
if kind ~= '-' then
  give_places(run, task, t.att)
  for _, d in ipairs(call('SMEMBERS', r .. ':gr:' .. task)) do
    local k = r .. ':S:' .. d
    local s = call('HMGET', k, 'holder', 'st', 'told', 'closed')
    if s[1] == task and s[2] == 'done' and not s[3] then
      call('HSET', k, 'told', 1)
      call('RPUSH', r .. ':todo', 'end ' .. d)
    elseif s[4] ~= '1' then
      -- A grower that has ended adds nothing more.
      call('HSET', k, 'closed', 1)
      settle(run, d)
    end
  end
end
drop(run, task, step, t.win)
pump(t.win, run)
if about[3] == 'failing' then settle_failing(run, step) else settle(run, step) end
return answer(run, 'ok')
