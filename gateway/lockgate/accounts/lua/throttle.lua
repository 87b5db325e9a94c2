-- One attempt at a password, counted before it is made: of any number of simultaneous attempts no more get through than
-- of as many in a row. Each counter is a bucket that drains evenly, `soft` in one window, by the clock of Redis:
-- nodes may differ.
--
-- What was taken is given back by the attempt's name, once at most: whoever gives back need not know whether it was taken.
--
-- KEYS  1 account   2 address   3 everybody          (hashes: level, at)
--       4 the attempt, while it can be given back: 'all', or 'address' where only that was counted
-- ARGV  1 'take' or 'give'   2 window, milliseconds   3 a captcha was solved: '1'
--       4 account: attempts without a captcha   5 address: the same   6 everybody: the same
--       7 address: the same, until it has to wait   8 how long an attempt can be given back, milliseconds
-- Answer  {'go', 0} | {'captcha', 0} | {'wait', milliseconds}
local window, solved = tonumber(ARGV[2]), ARGV[3] == '1'
local soft = {tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])}
local hard = tonumber(ARGV[7])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function level(i)
  local stored = redis.call('HMGET', KEYS[i], 'level', 'at')
  if not stored[1] then
    return 0
  end
  return math.max(0, stored[1] - math.max(0, now - stored[2]) * soft[i] / window)
end

local function fill(i, value)
  if value <= 0 then
    redis.call('DEL', KEYS[i])
    return
  end
  redis.call('HSET', KEYS[i], 'level', value, 'at', now)
  redis.call('PEXPIRE', KEYS[i], math.ceil(value * window / soft[i]))
end

local account, address, everybody = level(1), level(2), level(3)

if ARGV[1] == 'give' then
  local counted = redis.call('GETDEL', KEYS[4])
  if counted then
    fill(2, address - 1)
  end
  if counted == 'all' then
    fill(1, account - 1)
    fill(3, everybody - 1)
  end
  return {'go', 0}
end

if not solved and address + 1 > hard then
  return {'wait', math.ceil((address + 1 - hard) * window / soft[2])}
end
-- Bounded by what has to wait: those that solve captchas do not make it longer for the others.
fill(2, math.min(address + 1, hard))
local suspicious = account + 1 > soft[1] or address + 1 > soft[2] or everybody + 1 > soft[3]
if suspicious and not solved then
  redis.call('SET', KEYS[4], 'address', 'PX', ARGV[8])
  return {'captcha', 0}
end
redis.call('SET', KEYS[4], 'all', 'PX', ARGV[8])
-- Bounded, so that an account is as before one window after an attack has ended, however long that was.
fill(1, math.min(account + 1, 2 * soft[1]))
fill(3, math.min(everybody + 1, 2 * soft[3]))
return {'go', 0}
