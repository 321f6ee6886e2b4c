"""What Redis does at once: adding, changing and removing an episode together with the indexes that it is in.

An episode is in the indexes of all, and where callers have a share, in those of its caller as well. Each have three:
those that have not ended (`running`), those that have (`ended`), both by their last use, and when those end by
themselves that are running (`deadlines`). All names have one hash tag, so that a cluster keeps them in one place.
"""

__all__ = ["ADD", "MARK_BYTES", "REMOVE", "SWAP"]

MARK_BYTES = 8
"""Before an episode's JSON."""

_COMMON = """
local key, prefix, id, share = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local function indexes_of(whose)
  local names = {}
  for _, name in ipairs({'running', 'ended', 'deadlines'}) do table.insert(names, prefix .. whose .. name) end
  return names
end
local function indexes_of_caller(caller) return indexes_of('of:' .. caller .. ':') end
local function caller_of(kept) return cjson.decode(string.sub(kept, 9)).caller or '' end  -- MARK_BYTES + 1
local function unlist(indexes, which)
  for _, index in ipairs(indexes) do redis.call('ZREM', index, which) end
end
local function unlist_everywhere(which, kept)
  unlist(indexes_of(''), which)
  if share ~= '' and kept then unlist(indexes_of_caller(caller_of(kept)), which) end
end
local function list(indexes, status, now, ends_at)
  local running, ended, deadlines = unpack(indexes)
  if status == 'ended' then redis.call('ZREM', running, id) else redis.call('ZADD', running, now, id) end
  if status == 'ended' then redis.call('ZADD', ended, now, id) else redis.call('ZREM', ended, id) end
  if status == 'running' then redis.call('ZADD', deadlines, ends_at, id) else redis.call('ZREM', deadlines, id) end
end
local function list_everywhere(caller, status, now, ends_at, idle)
  list(indexes_of(''), status, now, ends_at)
  if share == '' then return end
  list(indexes_of_caller(caller), status, now, ends_at)
  for _, index in ipairs(indexes_of_caller(caller)) do redis.call('EXPIRE', index, idle) end
end
"""

ADD = (
    _COMMON
    + """
local limit, caller, state, now, ends_at, idle, replace = unpack(ARGV, 4)
local victims, chosen = {}, {}
local function forget_idle(indexes)
  local running, ended, deadlines = unpack(indexes)
  local forgotten = redis.call('ZRANGEBYSCORE', running, '-inf', now - idle)
  for _, each in ipairs(forgotten) do
    redis.call('ZREM', running, each)
    redis.call('ZREM', deadlines, each)
  end
  redis.call('ZREMRANGEBYSCORE', ended, '-inf', now - idle)
  return #forgotten
end
local function find_place(indexes, most)
  local running, ended, deadlines = unpack(indexes)
  local lacking = redis.call('ZCARD', running) + redis.call('ZCARD', ended) - #victims + 1 - most
  if lacking <= 0 then return true end
  local enough = lacking + #victims
  for _, found in ipairs({
    redis.call('ZRANGE', ended, 0, enough - 1), redis.call('ZRANGEBYSCORE', deadlines, '-inf', now, 'LIMIT', 0, enough),
  }) do
    for _, each in ipairs(found) do
      if lacking > 0 and not chosen[each] then
        table.insert(victims, each)
        chosen[each], lacking = true, lacking - 1
      end
    end
  end
  return lacking <= 0
end
local old = redis.call('GET', key)
if old and old ~= state and replace == '0' then return {'taken'} end
local forgotten = forget_idle(indexes_of(''))
if share ~= '' then
  forget_idle(indexes_of_caller(caller))
  local has_place = old and caller_of(old) == caller
  if not has_place and not find_place(indexes_of_caller(caller), share) then return {'no share', forgotten} end
end
if not old and not find_place(indexes_of(''), limit) then return {'no place', forgotten} end
for _, victim in ipairs(victims) do
  unlist_everywhere(victim, redis.call('GET', prefix .. 'episode:' .. victim))
  redis.call('DEL', prefix .. 'episode:' .. victim)
end
if old then unlist_everywhere(id, old) end
redis.call('SET', key, state, 'EX', idle)
list_everywhere(caller, 'running', now, ends_at, idle)
return {old or '', forgotten}
"""
)
"""Answers what it replaced and how many idle ones were forgotten; or what there is no place for, and drops nothing."""

SWAP = (
    _COMMON
    + """
local caller, old, new, now, idle, status, ends_at = unpack(ARGV, 4)
local found = redis.call('GET', key)
if found ~= old and found ~= new then return 0 end
redis.call('SET', key, new, 'EX', idle)
list_everywhere(caller, status, now, ends_at, idle)
return 1
"""
)
"""Answers whether an episode was as it was thought to be, or is already as it shall be."""

REMOVE = (
    _COMMON
    + """
local old = redis.call('GETDEL', key)
if old then unlist_everywhere(id, old) end
return old
"""
)
"""Answers what it removed."""
