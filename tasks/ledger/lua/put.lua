-- put: writes while the run is being created: for each the number of its words, then the words.
local st = redis.call('HGET', KEYS[1], 'st')
if not st then return {'norun'} end
if st ~= 'creating' then return {'started'} end
local i = 1
while i <= #ARGV do
  local n = tonumber(ARGV[i])
  redis.call(unpack(ARGV, i + 1, i + n))
  i = i + n + 1
end
return {'ok'}
