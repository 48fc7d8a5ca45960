-- grow: task, token, step, checkpoint, close, window, limit, holder counts; then task, packed and rank of each, in
-- the order of their ranks.
local run, task, tok, step = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local r = R(run)
local st = call('HGET', r, 'st')
if not st then return {'norun'} end
local k = r .. ':t:' .. task
local t = call('HMGET', k, 'st', 'tok')
if t[1] ~= 'run' or t[2] ~= tok then return {'stale'} end
if st ~= 'running' then return {'over'} end
local S = r .. ':S:' .. step
local s = call('HMGET', S, 'st', 'grower', 'closed', 'win')
if s[2] ~= task then return {'notgrower'} end
call('ZADD', r .. ':beat', now + LEASE, task)
-- A step that failed takes nothing more; its grower may grow others.
if s[1] == 'failed' or s[1] == 'unreachable' or s[1] == 'failing' then return answer(run, 'ok') end
if s[3] == '1' then
  for i = 13, #ARGV, 3 do
    if call('HEXISTS', r .. ':spec:' .. step, ARGV[i]) == 0 then return {'closed'} end
  end
  return answer(run, 'ok')
end
local W = s[4]
if ARGV[10] ~= '' and '@' .. ARGV[10] ~= W then
  leave_window(run, step, W)
  W = '@' .. ARGV[10]
  call('HSET', S, 'win', W)
  call('SADD', r .. ':wins', W)
end
if shared(W) and ARGV[10] ~= '' then
  call('SADD', r .. ':wreg', W .. '\31' .. step)
  call('ZADD', P .. 'wl:' .. W, ARGV[11], run .. ' ' .. step)
  if ARGV[12] == '1' then
    call('SADD', P .. 'wp:' .. W, run .. ' ' .. step)
    call('HSET', S, 'hw', W)
  end
end
local list, weight = {}, 0
for i = 13, #ARGV, 3 do
  if call('HSETNX', r .. ':spec:' .. step, ARGV[i], ARGV[i + 1]) == 1 then
    list[#list + 1] = ARGV[i + 2] .. ' ' .. ARGV[i]
    weight = weight + string.match(ARGV[i + 1], '\31(%d+)\n')
  end
end
if #list > 0 then
  add(run, step, list)
  call('HINCRBY', r, 'tasks', #list)
  weight = string.format('%.0f', weight)
  if weight ~= '0' then
    call('HINCRBY', r, 'weight', weight)
    call('HINCRBY', S, 'weight', weight)
  end
end
if ARGV[8] ~= '' then call('HSET', k, 'ckpt', ARGV[8]) end
if ARGV[9] == '1' then call('HSET', S, 'closed', 1) end
if s[1] == 'open' then
  head(run, step, W)
  pump(W, run)
  settle(run, step)
end
return answer(run, 'ok')
