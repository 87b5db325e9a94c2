-- What the scripts on sessions have in common; it stands before each of them.
--
-- All times are Unix milliseconds by the clock of Redis, so that no node's clock can stretch or cut a life; but for
-- `issued` of a session's hash: the latest time of a node that issued a token of it.
local time = redis.call('TIME')
local here = time[1] * 1000 + math.floor(time[2] / 1000)

-- Remember something for so long, unless it is remembered for longer already; whether it was new.
local function remember(key, life)
  local rest = redis.call('PTTL', key)
  if rest < life then
    redis.call('SET', key, '1', 'PX', life)
  end
  return rest == -2
end

-- A node has issued a token of a session; `now` is the node's time.
local function issued_at(session, now)
  local before = tonumber(redis.call('HGET', session, 'issued') or 0)
  redis.call('HSET', session, 'issued', math.max(before, now))
end

-- End a session and, by the marker, its access tokens; whether it lived.
local function finish(session, ended, index, sid, life, channel)
  -- The tokens of a node whose clock is ahead are good for that much longer.
  local ahead = math.max(0, tonumber(redis.call('HGET', session, 'issued') or 0) - here)
  -- First what a full Redis refuses: then nothing was done.
  remember(ended, life + ahead)
  local lived = redis.call('DEL', session)
  redis.call('ZREM', index, sid)
  redis.call('PUBLISH', channel, 'sid:' .. sid)
  return lived
end

-- Write the parts of a user agent; parts of a longer one that was there before go.
local function write_agent(session, parts)
  for number, part in ipairs(parts) do
    redis.call('HSET', session, number == 1 and 'agent' or 'agent' .. number, part)
  end
  local number = #parts + 1
  while redis.call('HDEL', session, 'agent' .. number) == 1 do
    number = number + 1
  end
end

-- Add the fields of a session to an answer.
local function with_fields(answer, session)
  for _, part in ipairs(redis.call('HGETALL', session)) do
    answer[#answer + 1] = part
  end
  return answer
end
