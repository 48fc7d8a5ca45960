-- turn: the least time between two sweeps. It decides whose turn it is, and looks at windows in which a revoked attempt's
-- lease has ended. Answers {ok, 1 or 0, number of runs, the runs, emissions}.
local last = call('GET', P .. 'sweep')
-- A clock that was set back must not stop the sweeps.
if last and now - last < tonumber(ARGV[5]) and now >= tonumber(last) then return {'ok', 0, 0} end
call('SET', P .. 'sweep', now)
for _, W in ipairs(call('ZRANGEBYSCORE', P .. 'due', '-inf', now, 'LIMIT', 0, 50)) do
  call('ZREM', P .. 'due', W)
  pump(W)
end
local runs = call('SMEMBERS', P .. 'active')
local reply = {'ok', 1, #runs}
for _, run in ipairs(runs) do reply[#reply + 1] = run end
for _, v in ipairs(emitted) do reply[#reply + 1] = v end
return reply
