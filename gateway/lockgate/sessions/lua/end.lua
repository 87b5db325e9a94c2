-- End a session and, by the marker, its access tokens, as one step.
--
-- KEYS  1 ended marker   2 session (hash)   3 index of sessions
-- ARGV  1 sid   2 life of the marker, milliseconds   3 channel
-- Answer  1 if there was such a session
return finish(KEYS[2], KEYS[1], KEYS[3], ARGV[1], tonumber(ARGV[2]), ARGV[3])
