-- The load: requests made once at the start, one of them picked at random each time.
-- Arguments after `--`: a file with one token per line; a file with one path per line; bytes of request body; `once` to
-- send each token once, in order, and then stop.

local MOST = 100000 -- requests kept as text; beyond these, each token is read when it is sent
local requests, count, once = {}, 0, false
local file, width, before, after -- of tokens that are read when they are sent
local sent, answered = 0, 0

local function lines(name)
   local found = {}
   for line in io.lines(name) do found[#found + 1] = line end
   return found
end

local function format(path, token, size)
   local headers = {["Host"] = "127.0.0.1", ["Authorization"] = "Bearer " .. token}
   if size > 0 then headers["Content-Type"] = "application/octet-stream" end
   return wrk.format(size > 0 and "POST" or "GET", path, headers, size > 0 and string.rep("x", size) or nil)
end

local function read_later(name, path, size)
   file = io.open(name, "rb")
   file:setvbuf("no")
   width = #file:read("*l") + 1
   count = file:seek("end") / width
   local whole = format(path, "\1", size)
   local mark = whole:find("\1", 1, true)
   before, after = whole:sub(1, mark - 1), whole:sub(mark + 1)
end

function init(args)
   local paths, size = lines(args[2]), tonumber(args[3])
   once = args[4] == "once"
   math.randomseed(os.time())
   local probe = io.open(args[1], "rb")
   local many = probe:seek("end") / (probe:seek("set") + #probe:read("*l") + 1) > MOST
   probe:close()
   if many then return read_later(args[1], paths[1], size) end
   local tokens = lines(args[1])
   count = math.max(#tokens, #paths)
   for i = 1, count do
      requests[i] = format(paths[(i - 1) % #paths + 1], tokens[(i - 1) % #tokens + 1], size)
   end
end

function request()
   sent = sent + 1
   local number = once and (sent - 1) % count + 1 or math.random(count)
   if not file then return requests[number] end
   file:seek("set", (number - 1) * width)
   return before .. file:read(width - 1) .. after
end

local function stop_after_all()
   answered = answered + 1
   if answered < count then return end
   print(string.format('{"requests": %d}', answered))
   os.exit(0) -- a stopped thread would leave wrk waiting for the end of its time
end

-- wrk looks for a global `response` once, after `init`; without one it does not parse responses for the script.
local make = init
function init(args)
   make(args)
   if once then response = stop_after_all end
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "seconds": %.6f, "bytes": %d, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
      summary.requests, summary.duration / 1e6, summary.bytes, e.status, e.connect + e.read + e.write + e.timeout,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
