-- nudge: task, attempt.
local run, task = ARGV[4], ARGV[5]
local st = call('HGET', R(run), 'st')
if not st then return {'norun'} end
local t = state_of(run, task)
if st == 'running' and t.st == 'out' and t.att == ARGV[6] then requeue(run, task, t.hd, 0) end
return answer(run, 'ok')
