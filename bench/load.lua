-- The load: requests made once at the start, one of them picked at random each time.
-- Arguments after `--`: a file with one token per line; a file with one path per line; bytes of request body.

local requests, count = {}, 0

local function lines(name)
   local found = {}
   for line in io.lines(name) do found[#found + 1] = line end
   return found
end

function init(args)
   local tokens = lines(args[1])
   local paths = lines(args[2])
   local body = tonumber(args[3]) > 0 and string.rep("x", tonumber(args[3])) or nil
   math.randomseed(os.time())
   count = math.max(#tokens, #paths)
   for i = 1, count do
      local token = tokens[(i - 1) % #tokens + 1]
      local headers = {["Host"] = "127.0.0.1", ["Authorization"] = "Bearer " .. token}
      if body then headers["Content-Type"] = "application/octet-stream" end
      requests[i] = wrk.format(body and "POST" or "GET", paths[(i - 1) % #paths + 1], headers, body)
   end
end

function request()
   return requests[math.random(count)]
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "seconds": %.6f, "bytes": %d, "refused": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f}\n',
      summary.requests, summary.duration / 1e6, summary.bytes, e.status, e.connect + e.read + e.write + e.timeout,
      latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
