-- fail: task, token, step, class, delay, failure, tries, epochs.
local run, task, tok, step, class = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local delay, failure = tonumber(ARGV[9]), ARGV[10]
local r = R(run)
local st = call('HGET', r, 'st')
if not st then return {'norun'} end
local t = state_of(run, task)
if t.ftok == tok then return answer(run, 'ok') end
if t.st ~= 'run' or t.tok ~= tok then
  if call('HGET', r .. ':S:' .. step, 'ktok') == tok then return answer(run, 'ok') end
  return {'stale'}
end
local s = call('HMGET', r .. ':S:' .. step, 'st', 'holder')
local function mark(id)
  call('HDEL', r .. ':t:' .. id, 'tok', 'worker', 'e', 'b')
  call('HSET', r .. ':t:' .. id, 'ftok', tok)
end
if class == 'permanent' then
  kill(run, task, t, failure)
elseif st ~= 'running' or s[1] == 'failing' then
  -- What ends is not tried again.
  if flag(t.hd) ~= '-' then give_places(run, task, t.att) end
  drop(run, task, step, t.win)
  call('HSET', r .. ':S:' .. step, 'ktok', tok)
  pump(t.win, run)
  settle_failing(run, step)
else
  local holds = flag(t.hd) == 'h'
  if class == 'lost_view' and not holds and s[2] == '' then class = 'transient' end
  local k = r .. ':t:' .. task
  if class == 'transient' then
    call('HINCRBY', r, 'retries', 1)
    if call('HINCRBY', k, 'tries', 1) >= tonumber(ARGV[11]) then
      kill(run, task, t, failure)
      return answer(run, 'ok')
    end
    event(run, 'retry', step, task, t.worker, failure)
  end
  if holds then
    call('ZREM', r .. ':beat', task)
    reopen(run, task, delay, class ~= 'hand_back' and failure, tonumber(ARGV[12]))
    if call('EXISTS', k) == 1 then mark(task) end
  elseif class == 'lost_view' then
    -- The part that reports the loss ended by its own word and keeps no place; its step is emptied.
    drop(run, task, step, t.win)
    pump(t.win, run)
    call('HSET', r .. ':S:' .. step, 'ktok', tok)
    reopen(run, s[2], delay, failure, tonumber(ARGV[12]), deadline_of(run, s[2]))
  else
    mark(task)
    requeue(run, task, t.hd, delay)
  end
end
return answer(run, 'ok')
