-- start: tasks, weight.
local run = ARGV[4]
local r = R(run)
local st = call('HGET', r, 'st')
if not st then return {'norun'} end
if st == 'creating' then
  call('HSET', r, 'st', 'running', 'started', now, 'swept', now, 'tasks', ARGV[5], 'weight', ARGV[6])
  call('SADD', P .. 'active', run)
  event(run, 'start', '', '', '', '')
end
return answer(run, 'ok')
