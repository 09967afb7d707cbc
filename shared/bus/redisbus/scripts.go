package redisbus

import "github.com/redis/go-redis/v9"

// The scripts for streams. Those that write say allow-oom: on a full server it must be
// possible to read a topic empty and to trim it. What they do is atomic, which no
// sequence of commands is: between a look and a deed a reader may be given an entry.
var (
	// KEYS stream; ARGV ttl in ms or 0, groups.
	ensureScript = redis.NewScript(`#!lua flags=allow-oom
for i = 2, #ARGV do
	local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[i], '0', 'MKSTREAM')
	if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
		return made
	end
end
if tonumber(ARGV[1]) > 0 then
	redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return 1
`)
	// KEYS stream; ARGV group, ms. Makes the group, and removes its consumers that are
	// quiet and have nothing pending. One script, because between looking and removing
	// a consumer may be given an entry, which would go with it.
	joinScript = redis.NewScript(`#!lua flags=allow-oom
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
	return made
end
` + sweepFunction + `
return sweep(KEYS[1], ARGV[1], tonumber(ARGV[2]))
`)
	// KEYS stream; ARGV group, ms. Makes the group, sweeps its consumers, and sets it back to
	// before its oldest pending entry, so that nothing is pending. Answers the id behind which
	// to read, and how many entries there were up to it.
	followScript = redis.NewScript(`#!lua flags=allow-oom
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if type(made) == 'table' and made.err and not string.find(made.err, 'BUSYGROUP', 1, true) then
	return made
end
` + sweepFunction + `
local function before(id)
	local ms, seq = string.match(id, '^(%d+)-(%d+)$')
	if #seq <= 15 and tonumber(seq) > 0 then return ms .. '-' .. string.format('%.0f', tonumber(seq) - 1) end
	if #ms <= 15 and tonumber(ms) > 0 then return string.format('%.0f', tonumber(ms) - 1) .. '-18446744073709551615' end
	return '0-0'
end
local function group()
	for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
		local g = fields(flat)
		if g.name == ARGV[1] then return g end
	end
end
local g = group()
local cursor, read = g['last-delivered-id'], g['entries-read']
if g.pending > 0 then
	cursor, read = before(redis.call('XPENDING', KEYS[1], ARGV[1])[2]), nil
	repeat
		local some = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1000)
		for _, entry in ipairs(some) do redis.call('XACK', KEYS[1], ARGV[1], entry[1]) end
	until #some == 0
end
if not read then
	local behind, from = 0, '(' .. cursor
	repeat
		local some = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1000)
		behind = behind + #some
		if #some > 0 then from = '(' .. some[#some][1] end
	until #some == 0
	read = fields(redis.call('XINFO', 'STREAM', KEYS[1]))['entries-added'] - behind
	redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], cursor, 'ENTRIESREAD', read)
end
sweep(KEYS[1], ARGV[1], tonumber(ARGV[2]))
return {cursor, read}
`)
	// KEYS stream, strangers; ARGV ms until a stranger is destroyed, ms until a consumer is
	// swept, groups. Answers {group, idle ms, destroyed} of each stranger. What must stay
	// begins with the oldest pending entry, or behind the last delivered one, of the
	// group that is furthest behind.
	trimScript = redis.NewScript(`#!lua flags=allow-oom
` + sweepFunction + `
local function split(id)
	return string.match(id, '^(%d+)-(%d+)$')
end
-- Decimal strings, because an id has 64 bits twice and a Lua number has 53.
local function below(a, b)
	if #a ~= #b then return #a < #b end
	return a < b
end
local function less(a, b)
	local ams, aseq = split(a)
	local bms, bseq = split(b)
	if ams ~= bms then return below(ams, bms) end
	return below(aseq, bseq)
end
local function after(id)
	local ms, seq = split(id)
	if #seq > 15 then return id end
	return ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
end

if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- since answers for how long the stranger has been known not to read.
local function since(group)
	local last = group['last-delivered-id']
	local seen = redis.call('HGET', KEYS[2], group.name)
	local id, at = string.match(seen or '', '^(%S+) (%d+)$')
	if id ~= last then
		redis.call('HSET', KEYS[2], group.name, last .. ' ' .. string.format('%.0f', now))
		return 0
	end
	local idle = now - at
	for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], group.name)) do
		idle = math.min(idle, fields(flat).idle)
	end
	return idle
end

local named, missing = {}, 0
for i = 3, #ARGV do
	if not named[ARGV[i]] then
		named[ARGV[i]] = true
		missing = missing + 1
	end
end
local strangers, floor = {}, nil
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
	local group = fields(flat)
	if named[group.name] then
		missing = missing - 1
		local stays = after(group['last-delivered-id'])
		if group.pending > 0 then
			stays = redis.call('XPENDING', KEYS[1], group.name)[2]
		end
		if not floor or less(stays, floor) then floor = stays end
		sweep(KEYS[1], group.name, tonumber(ARGV[2]))
	else
		local idle, destroyed = since(group), 0
		if idle >= tonumber(ARGV[1]) then
			redis.call('XGROUP', 'DESTROY', KEYS[1], group.name)
			redis.call('HDEL', KEYS[2], group.name)
			destroyed = 1
		end
		strangers[#strangers + 1] = {group.name, idle, destroyed}
	end
end
if #strangers > 0 then
	redis.call('PEXPIRE', KEYS[2], 2 * ARGV[1])
end
if missing == 0 and floor then
	redis.call('XTRIM', KEYS[1], 'MINID', floor)
end
return strangers
`)
	// KEYS stream; ARGV group. Answers messages, bytes and pending. Where the server cannot tell the
	// lag (entries were deleted from the middle) all that is there counts.
	depthScript = redis.NewScript(`#!lua flags=no-writes
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 0, 0} end
local length = redis.call('XLEN', KEYS[1])
local messages, pending = length, 0
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
	local group = {}
	for i = 1, #flat, 2 do group[flat[i]] = flat[i + 1] end
	if group.name == ARGV[1] then
		pending = group.pending
		if group.lag then messages = group.lag + pending end
	end
end
if messages <= 0 or length == 0 then return {0, 0, pending} end
return {messages, math.ceil(messages * redis.call('MEMORY', 'USAGE', KEYS[1]) / length), pending}
`)
)

const sweepFunction = `
local function fields(flat)
	local t = {}
	for i = 1, #flat, 2 do t[flat[i]] = flat[i + 1] end
	return t
end
local function sweep(stream, group, age)
	local swept = 0
	for _, flat in ipairs(redis.call('XINFO', 'CONSUMERS', stream, group)) do
		local consumer = fields(flat)
		if consumer.pending == 0 and consumer.idle >= age then
			redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer.name)
			swept = swept + 1
		end
	end
	return swept
end
`
