-- Put an access token on the blocklist, and say so, as one step. It stays there for as long as any node could accept it,
-- by the clock of Redis and by the one of the node, whichever says longer; and at least for as long as a token lives, for
-- nodes whose clocks are behind, and for what goes on after a token has expired.
--
-- KEYS  1 blocklist entry
-- ARGV  1 jti   2 end of the token by its own words; 0: not known   3 time of the node   4 life of any token
--       5 how much longer a node may accept a token   6 channel
-- Answer  1 if that changed something: the token was good by the clock of the node, and not revoked before
local exp, now, least, slack = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local rest = exp > 0 and exp - math.min(here, now) or least
if not remember(KEYS[1], math.max(rest, least) + slack) then
  return 0
end
redis.call('PUBLISH', ARGV[6], 'jti:' .. ARGV[1])
return (exp == 0 or exp - now + slack > 0) and 1 or 0
