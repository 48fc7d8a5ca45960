-- beat: task, token, entries, bytes. Answers {ok, cancel, release}.
local run, task, tok = ARGV[4], ARGV[5], ARGV[6]
local r = R(run)
local st = call('HGET', r, 'st')
if not st then return {'norun'} end
local k = r .. ':t:' .. task
local t = call('HMGET', k, 'st', 'tok', 'step', 'hd')
if t[1] ~= 'run' or t[2] ~= tok then return {'stale'} end
call('ZADD', r .. ':beat', now + LEASE, task)
if ARGV[7] ~= '0' or ARGV[8] ~= '0' then call('HSET', k, 'e', ARGV[7], 'b', ARGV[8]) end
local cancel, release = 0, 0
if st ~= 'running' or call('HGET', r .. ':S:' .. t[3], 'st') == 'failing' then cancel = 1 end
if string.sub(t[4], 1, 1) == 'h' then
  release = 1
  for _, d in ipairs(call('SMEMBERS', r .. ':gr:' .. task)) do
    local s = call('HMGET', r .. ':S:' .. d, 'holder', 'st')
    if s[1] == task and s[2] ~= 'done' and s[2] ~= 'failed' and s[2] ~= 'unreachable' then release = 0 end
  end
end
return {'ok', cancel, release}
