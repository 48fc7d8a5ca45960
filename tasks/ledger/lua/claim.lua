-- claim: task, attempt, token, worker, host.
local run, task, att, tok, worker, host = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]
local r = R(run)
local st = call('HGET', r, 'st')
if not st then return {'norun'} end
if st ~= 'running' then return {'over'} end
local k = r .. ':t:' .. task
local t = call('HMGET', k, 'st', 'att', 'tok', 'step', 'tries', 'deaths', 'ckpt', 'epoch')
if not t[1] or t[2] ~= att then return {'stale'} end
if not (t[1] == 'run' and t[3] == tok) then
  if t[1] ~= 'out' then return {'stale'} end
  call('HSET', k, 'st', 'run', 'tok', tok, 'worker', worker, 'host', host, 'since', now)
  call('ZREM', r .. ':out', task)
  call('ZADD', r .. ':beat', now + LEASE, task)
end
local epoch = call('HGET', r .. ':S:' .. t[4], 'epoch')
-- A holder's epoch is its own: how often its view was opened.
if t[8] then epoch = t[8] + 1 end
return {'ok', call('HGET', r .. ':spec:' .. t[4], task), t[4], tonumber(epoch), (t[5] or 0) + (t[6] or 0) + 1, t[7] or ''}
