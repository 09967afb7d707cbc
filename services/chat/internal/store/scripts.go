package store

import "github.com/redis/go-redis/v9"

// The scripts. All keys of one call carry one hash tag. KEYS[1] is the guard
// (…:w), KEYS[2] the record (…:epoch) or the index of ages (…:age).

// lookScript returns guard, record, run_id, whether the server was a replica
// once, and the server's clock. INFO may be forbidden; then the run_id is empty.
var lookScript = redis.NewScript(`
local function info(section, pattern)
  local text = redis.pcall('INFO', section)
  return type(text) == 'string' and string.match(text, pattern) or ''
end
local other = info('replication', 'master_replid2:(%w+)')
local now = redis.call('TIME')
return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[2]) or '', info('server', 'run_id:(%w+)'),
  string.match(other, '[^0]') and 1 or 0, now[1] * 1000 + math.floor(now[2] / 1000)}`)

// raiseScript writes guard ARGV[2] and record ARGV[3] if the guard is ARGV[1] ("": none).
var raiseScript = redis.NewScript(`
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3])
return 1`)

// appendScript: KEYS[3…] are logs. ARGV is the guard that must stand there, the
// next one, and for each log: room, head before, floor or 0, number of entries,
// and each entry as seq and its six fields with their names. It looks at
// everything before it writes anything, because Redis does not undo what a
// script wrote before it failed. 1: done; 0: the guard is another; -1: a log's
// head is not where it was left. XSETID is for a log whose last entries were
// deleted: streams remember the highest ID they ever had.
var appendScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local a = 3
for k = 3, #KEYS do
  local last = redis.call('XREVRANGE', KEYS[k], '+', '-', 'COUNT', 1)[1]
  if (last and string.match(last[1], '^%d+') or '0') ~= ARGV[a + 1] then return -1 end
  a = a + 4 + 13 * tonumber(ARGV[a + 3])
end
a = 3
for k = 3, #KEYS do
  local log, room, head, floor = KEYS[k], ARGV[a], ARGV[a + 1], ARGV[a + 2]
  local n = tonumber(ARGV[a + 3])
  a = a + 4
  local first = ARGV[a + 10]
  for i = 1, n do
    local id = ARGV[a] .. '-0'
    if type(redis.pcall('XADD', log, id, unpack(ARGV, a + 1, a + 12))) == 'table' then
      if i == 1 and head ~= '0' then redis.pcall('XSETID', log, head .. '-0') end
      redis.call('XADD', log, id, unpack(ARGV, a + 1, a + 12))
    end
    a = a + 13
  end
  if floor ~= '0' then redis.call('XTRIM', log, 'MINID', '=', floor .. '-0') end
  local oldest = redis.call('ZSCORE', KEYS[2], room)
  if not oldest then
    redis.call('ZADD', KEYS[2], head == '0' and first or '0', room)
  elseif oldest == 'inf' then
    redis.call('ZADD', KEYS[2], '0', room)
  end
end
redis.call('SET', KEYS[1], ARGV[2])
return 1`)

// headsScript: KEYS[1] is the index of ages, KEYS[2…] are logs, ARGV their rooms.
// For each: the oldest and the newest ID (or ”), and whether the index knows it.
var headsScript = redis.NewScript(`
local out = {}
for i, room in ipairs(ARGV) do
  local newest = redis.call('XREVRANGE', KEYS[i + 1], '+', '-', 'COUNT', 1)[1]
  local oldest = newest and redis.call('XRANGE', KEYS[i + 1], '-', '+', 'COUNT', 1)[1]
  out[#out + 1] = oldest and oldest[1] or ''
  out[#out + 1] = newest and newest[1] or ''
  out[#out + 1] = (not newest and redis.call('ZSCORE', KEYS[1], room)) and '1' or '0'
end
return out`)

// forgetScript: KEYS[3…] are logs; ARGV is the guard, and the rooms of the logs.
var forgetScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
for k = 3, #KEYS do
  if redis.call('EXISTS', KEYS[k]) == 0 then redis.call('ZREM', KEYS[2], ARGV[k - 1]) end
end
return 1`)

// trimScript: KEYS[3] is a log; ARGV is the guard, the room, the floor (0: none)
// and the time of the oldest entry.
var trimScript = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] ~= '0' then redis.call('XTRIM', KEYS[3], 'MINID', '=', ARGV[3] .. '-0') end
redis.call('ZADD', KEYS[2], ARGV[4], ARGV[2])
return 1`)
