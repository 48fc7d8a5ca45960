-- create: plan's hash, generation, policy.
local run = ARGV[4]
local r = R(run)
local s = call('HMGET', r, 'st', 'hash')
if s[1] then
  if s[2] ~= ARGV[5] then return {'exists'} end
  if s[1] ~= 'creating' then return {'started'} end
  return {'ok'}
end
call('HSET', r, 'st', 'creating', 'hash', ARGV[5], 'gen', ARGV[6], 'policy', ARGV[7], 'created', now)
call('SADD', P .. 'runs', run)
return {'ok'}
