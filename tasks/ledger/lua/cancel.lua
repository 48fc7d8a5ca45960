-- cancel: failure.
local run = ARGV[4]
local r = R(run)
local st = call('HGET', r, 'st')
if not st then return {'norun'} end
if st == 'creating' then
  record(run, ARGV[5])
  call('HSET', r, 'st', 'cancelled', 'ended', now)
  call('SREM', P .. 'active', run)
elseif st == 'running' then
  record(run, ARGV[5])
  stop(run, 'cancelling')
end
return answer(run, 'ok')
