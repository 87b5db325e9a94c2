-- One use of a refresh token, as one step: of any number of simultaneous uses, all get the same successor, are told to
-- come back, or end the session. The grace begins when the step is taken, however late that is.
--
-- A crowd is told to come back, and keeps its session (docs/decisions/0090); the time is that of Redis
-- (docs/decisions/0115). A scope only ever narrows: a later refresh without a scope gets the narrowed one, and a
-- refresh that asks for more is refused. RFC 6749 section 6 would let a client ask for less once and for everything
-- the next time, so a thief of the narrowed token would get more than the token shows. The check comes before anything
-- changes, so a refused request costs no generation; a token that was used before ends its session whatever scope it
-- asks for. A client that wants both keeps the wide session and logs in once more for the narrow one.
--
-- KEYS  1 session (hash)   2 ended marker   3 index of sessions   4 epoch
-- ARGV  1 sid   2 generation presented   3 time of the node   4 grace   5 idle life
--       6 life of the ended marker   7 how many may ask again   8 channel   9 client   10 scopes asked for, or ''
--       11 address   12 whether replicas have to confirm, 1 or 0   13... the parts of the user agent
-- Answer  {'unknown'} | {'expired'} | {'reused'} | {'crowded'} | {'foreign'} | {'scope'} |
--         {'rotated' or 'repeated', time, epoch, field, value, ...}
local session, ended, index, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local presented, grace, idle = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])

local function give_up()
  finish(session, ended, index, ARGV[1], tonumber(ARGV[6]), ARGV[8])
end

local stored = redis.call('HMGET', session, 'generation', 'rotated', 'used', 'ends', 'repeats', 'epoch',
  'client_id', 'scope', 'pending')
if not stored[1] then
  return {'unknown'}
end
local current, rotated, used, ends = tonumber(stored[1]), tonumber(stored[2]), tonumber(stored[3]), tonumber(stored[4])
local counter = redis.call('GET', epoch) or '0'
if tonumber(stored[6]) < tonumber(counter) then
  -- Begun before a logout everywhere that did not see it.
  give_up()
  return {'unknown'}
end
if here >= ends or here >= used + idle then
  -- Redis has not noticed yet, or the lives were made shorter since.
  give_up()
  return {'expired'}
end
if stored[7] ~= ARGV[9] then
  -- Somebody else's token. Nothing changes: the rightful client goes on.
  return {'foreign'}
end

local outcome
-- A rotation that replicas have not confirmed was answered 503: its client has no other token than the one before.
local pending = stored[9]
local again = presented == current - 1 and (pending or grace > 0 and here <= rotated + grace)
if again and not pending and tonumber(stored[5]) >= tonumber(ARGV[7]) then
  -- More tabs than anybody has, but no sign of theft that the others have not shown. Nothing changes.
  return {'crowded'}
end
if (presented >= current or again) and ARGV[10] ~= '' then
  -- The scope of a session only ever narrows.
  local granted = stored[8] and ' ' .. stored[8] .. ' '
  for scope in string.gmatch(ARGV[10], '%S+') do
    if granted and not string.find(granted, ' ' .. scope .. ' ', 1, true) then
      return {'scope'}
    end
  end
  redis.call('HSET', session, 'scope', ARGV[10])
end
if presented >= current then
  -- Ahead of what is stored: a fail-over of Redis lost a rotation. The MAC says that the token is ours, and newer.
  outcome = 'rotated'
  current = presented + 1
  redis.call('HSET', session, 'generation', current, 'rotated', here, 'used', here, 'repeats', 0,
    'address', ARGV[11])
  write_agent(session, {unpack(ARGV, 13)})
  if ARGV[12] == '1' then
    redis.call('HSET', session, 'pending', 1)
  end
  redis.call('PEXPIRE', session, math.min(idle, ends - here))
elseif again then
  -- The answer was lost, or two tabs asked at once: the same successor, which nobody has used yet.
  outcome = 'repeated'
  if not pending then
    redis.call('HINCRBY', session, 'repeats', 1)
  end
else
  give_up()
  return {'reused'}
end
issued_at(session, tonumber(ARGV[3]))
return with_fields({outcome, here, counter}, session)
