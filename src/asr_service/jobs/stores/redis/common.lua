-- What all scripts share. Redis runs a script as one step, and writes its effects to the append-only file as one.
--
-- KEYS[1] is the beginning of every key. ARGV[1] is the operation, and ARGV[2] its parameters as JSON, in which numbers
-- are text, so that times are stored as they were given. The keys, without their beginning:
--
--   version                  number of this layout
--   files                    id of the directory with the files of the jobs, if they are in one
--   job:ID                   hash: the record, with its lease and its Idempotency-Key. A field without a value is absent
--   segments:ID              list: the segments of an open job
--   status:STATUS            sorted set of all jobs in this state. The score is the time when it was created (queued),
--                            when its lease lapses (running), or when its transcript was or is deleted (ended)
--   owner:STATUS:OWNER       sorted set of an owner's jobs in this state; all scores are 0, so that ids are the order
--   owner:all:OWNER          the same for all states
--   waiting:PRIORITY:OWNER   sorted set of an owner's waiting jobs by the time of their creation
--   owners:PRIORITY          sorted set of the owners with waiting jobs by the start of their last attempt
--   turns                    hash: the start of the last attempt at a job of each owner
--   bytes                    hash: the size of the recordings and transcripts of each owner
--   idempotency:OWNER        hash: Idempotency-Key to job
--   delivery:ID              hash: an event for a webhook
--   deliveries:ID            sorted set of a job's deliveries by the time of their creation
--   due                      sorted set of deliveries by the time of the next attempt

local VERSION = 1
local call = redis.call
local given = cjson.decode(ARGV[2])
local operations = {}

local function key(...)
  return KEYS[1] .. table.concat({ ... }, ':')
end

local function table_of(flat)
  local values = {}
  for i = 1, #flat, 2 do
    values[flat[i]] = flat[i + 1]
  end
  return values
end

local STATUSES = { 'queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired' }
local PRIORITIES = { 'normal', 'low' }
local MOST_ADDED = 1000 -- jobs of an owner that one step looks at

-- A hash, or nothing if its key has another type.
local function hash(name)
  local flat = redis.pcall('HGETALL', name)
  return flat.err and {} or flat
end

local function is_one_of(values, value)
  for _, each in ipairs(values) do
    if each == value then
      return true
    end
  end
  return false
end

-- Whether the scripts can use a record. They take one that they cannot use for a job that does not exist.
local function is_sound(id, job)
  for _, field in ipairs({ 'created_at', 'attempts', 'audio_bytes', 'result_bytes' }) do
    if not tonumber(job[field]) then
      return false
    end
  end
  for _, field in ipairs({ 'not_before', 'lease_until', 'expires_at' }) do
    if job[field] and not tonumber(job[field]) then
      return false
    end
  end
  return job.id == id and job.owner and is_one_of(STATUSES, job.status) and is_one_of(PRIORITIES, job.priority)
    and not job.attempts:find('[^%d]') and not (job.audio_bytes .. job.result_bytes):find('[^%d]')
    and (job.status ~= 'running' or job.lease_until) and pcall(cjson.decode, job.spec)
end

local function load(id)
  local job = table_of(hash(key('job', id)))
  if is_sound(id, job) then
    return job
  end
end

-- Let this script write although the memory is full, so that accepted jobs end and free memory. Redis refuses the first
-- write of a script then, unless it is of a command that can only free memory; it does not refuse the others.
local function allow_full_memory()
  call('DEL', key('nothing'))
end

local function load_held()
  allow_full_memory()
  local job = load(given.id)
  if job and job.lease_token == given.token then
    return job
  end
end

local function is_open(job)
  return job.status == 'queued' or job.status == 'running'
end

-- The fields and values of a record, which may be damaged, and the id of its key; empty if there is none.
local function with_key(name, id)
  if call('EXISTS', name) == 0 then
    return {}
  end
  local flat = hash(name)
  table.insert(flat, 'key')
  table.insert(flat, id)
  return flat
end

local function record(id)
  return with_key(key('job', id), id)
end

local function records(ids)
  local found = {}
  for _, id in ipairs(ids) do
    local flat = record(id)
    if #flat > 0 then
      table.insert(found, flat)
    end
  end
  return found
end

-- Set a field of a record or a delivery, or remove it if the value is nil.
local function set(name, field, value)
  if value == nil then
    call('HDEL', name, field)
  else
    call('HSET', name, field, value)
  end
end

-- Remove a job from the sets of its state.
local function leave(job)
  call('ZREM', key('status', job.status), job.id)
  call('ZREM', key('owner', job.status, job.owner), job.id)
  if job.status == 'queued' then
    local waiting = key('waiting', job.priority, job.owner)
    call('ZREM', waiting, job.id)
    if call('EXISTS', waiting) == 0 then
      call('ZREM', key('owners', job.priority), job.owner)
    end
  end
end

-- Add a job to the sets of a state.
local function enter(job, status, score)
  job.status = status
  call('HSET', key('job', job.id), 'status', status)
  call('ZADD', key('status', status), score, job.id)
  call('ZADD', key('owner', status, job.owner), 0, job.id)
  if status == 'queued' then
    call('ZADD', key('waiting', job.priority, job.owner), job.created_at, job.id)
    call('ZADD', key('owners', job.priority), call('HGET', key('turns'), job.owner) or 0, job.owner)
  end
end

local function set_bytes(job, audio_bytes, result_bytes)
  local change = audio_bytes + result_bytes - job.audio_bytes - job.result_bytes
  if call('HINCRBY', key('bytes'), job.owner, change) <= 0 then
    call('HDEL', key('bytes'), job.owner)
  end
  call('HSET', key('job', job.id), 'audio_bytes', audio_bytes, 'result_bytes', result_bytes)
end

local function end_lease(job)
  call('HDEL', key('job', job.id), 'lease_token', 'lease_until')
end

local function set_error(job)
  set(key('job', job.id), 'error_code', given.error_code)
  set(key('job', job.id), 'error_message', given.error_message)
end

-- End a job: release its lease, forget its segments, and write the event for its webhook.
local function finish(job, status, result_bytes)
  leave(job)
  end_lease(job)
  set_error(job)
  set_bytes(job, 0, result_bytes)
  call('HSET', key('job', job.id), 'finished_at', given.now, 'expires_at', given.expires_at)
  call('DEL', key('segments', job.id))
  enter(job, status, given.expires_at)
  if job.webhook_url then
    local id = given.delivery_id
    call('HSET', key('delivery', id), 'id', id, 'job_id', job.id, 'url', job.webhook_url, 'event', given.event,
      'created_at', given.now, 'due_at', given.now, 'attempts', 0)
    call('ZADD', key('deliveries', job.id), given.now, id)
    call('ZADD', key('due'), given.now, id)
  end
end

-- Put a job back after a failed attempt, whose error the caller can see while it waits.
local function put_back(job, failed_at)
  leave(job)
  end_lease(job)
  set_error(job)
  set(key('job', job.id), 'failed_at', failed_at)
  call('HSET', key('job', job.id), 'not_before', given.not_before)
  enter(job, 'queued', job.created_at)
end

local function remove(job)
  leave(job)
  call('ZREM', key('owner', 'all', job.owner), job.id)
  set_bytes(job, 0, 0)
  if job.idempotency_key then
    call('HDEL', key('idempotency', job.owner), job.idempotency_key)
  end
  for _, id in ipairs(call('ZRANGE', key('deliveries', job.id), 0, -1)) do
    call('ZREM', key('due'), id)
    call('DEL', key('delivery', id))
  end
  call('DEL', key('deliveries', job.id), key('segments', job.id), key('job', job.id))
end

-- The owner of a job whose record may be damaged or lost.
local function find_owner(id)
  local owner = table_of(hash(key('job', id))).owner
  if owner then
    return owner
  end
  for _, each in ipairs(call('HKEYS', key('bytes'))) do
    if call('ZSCORE', key('owner', 'all', each), id) then
      return each
    end
  end
end

-- Correct the size of an owner's jobs after a record was removed whose own size may be damaged. Of many jobs, only the
-- size of that record is taken off, because nothing else happens in Redis while a script adds up all of them.
local function correct_bytes(owner, removed)
  local all, bytes = key('owner', 'all', owner), 0
  if call('ZCARD', all) > MOST_ADDED then
    bytes = tonumber(call('HGET', key('bytes'), owner) or 0)
    for _, field in ipairs({ 'audio_bytes', 'result_bytes' }) do
      bytes = bytes - math.min(tonumber(removed[field] or 0) or 0, bytes)
    end
  else
    for _, each in ipairs(call('ZRANGE', all, 0, -1)) do
      local job = load(each)
      bytes = bytes + (job and job.audio_bytes + job.result_bytes or 0)
    end
  end
  call('HSET', key('bytes'), owner, string.format('%.0f', bytes))
end

-- Remove a damaged or lost record without the use of its fields, but for its owner.
local function purge(id)
  local owner, removed = find_owner(id), table_of(hash(key('job', id)))
  for _, status in ipairs(STATUSES) do
    call('ZREM', key('status', status), id)
  end
  for _, delivery in ipairs(call('ZRANGE', key('deliveries', id), 0, -1)) do
    call('ZREM', key('due'), delivery)
    call('DEL', key('delivery', delivery))
  end
  call('DEL', key('deliveries', id), key('segments', id), key('job', id))
  if not owner then
    return
  end
  for _, status in ipairs({ 'all', unpack(STATUSES) }) do
    call('ZREM', key('owner', status, owner), id)
  end
  for _, priority in ipairs(PRIORITIES) do
    call('ZREM', key('waiting', priority, owner), id)
    if call('EXISTS', key('waiting', priority, owner)) == 0 then
      call('ZREM', key('owners', priority), owner)
    end
  end
  local by_key = key('idempotency', owner)
  if removed.idempotency_key and call('HGET', by_key, removed.idempotency_key) == id then
    call('HDEL', by_key, removed.idempotency_key)
  elseif call('HLEN', by_key) <= MOST_ADDED then -- in a larger one the key stays; without its job it has no effect
    for name, value in pairs(table_of(hash(by_key))) do
      if value == id then
        call('HDEL', by_key, name)
      end
    end
  end
  correct_bytes(owner, removed)
end

local version = call('GET', key('version'))
if version and tonumber(version) > VERSION then
  return redis.error_reply('NEWERVERSION ' .. version)
end
