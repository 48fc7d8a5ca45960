-- advance: nothing. It goes on with what earlier calls left.
if call('EXISTS', R(ARGV[4])) == 0 then return {'norun'} end
return answer(ARGV[4], 'ok')
