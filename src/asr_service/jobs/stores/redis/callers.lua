-- The operations of the API's callers.

-- The number of an owner's waiting jobs and of all its jobs, and their size.
local function usage(owner)
  return {
    call('ZCARD', key('owner', 'queued', owner)), call('ZCARD', key('owner', 'all', owner)),
    tonumber(call('HGET', key('bytes'), owner) or 0),
  }
end

function operations.create()
  local new = given.record
  if load(new.id) then -- this command was sent before, and its answer was lost
    return { 'created', record(new.id) }
  end
  local earlier = new.idempotency_key and call('HGET', key('idempotency', new.owner), new.idempotency_key)
  if earlier and load(earlier) then
    if call('HGET', key('job', earlier), 'idempotency_digest') ~= new.idempotency_digest then
      return { 'conflict' }
    end
    return { 'replayed', record(earlier) }
  end
  local n_waiting, n_kept, n_bytes = unpack(usage(new.owner))
  n_bytes = n_bytes + new.audio_bytes
  if n_waiting >= tonumber(given.max_waiting) or n_kept >= tonumber(given.max_kept)
    or n_bytes > tonumber(given.max_bytes) then
    return { 'refused', n_waiting, n_kept, n_bytes }
  end
  call('SET', key('version'), VERSION)
  for field, value in pairs(new) do
    call('HSET', key('job', new.id), field, value)
  end
  call('HINCRBY', key('bytes'), new.owner, new.audio_bytes)
  call('ZADD', key('owner', 'all', new.owner), 0, new.id)
  if new.idempotency_key then
    call('HSET', key('idempotency', new.owner), new.idempotency_key, new.id)
  end
  enter(new, 'queued', new.created_at)
  if given.result_bytes then
    call('HSET', key('job', new.id), 'started_at', given.now, 'audio_s_done', given.audio_s, 'audio_s_total', given.audio_s)
    finish(new, 'succeeded', tonumber(given.result_bytes))
  end
  return { 'created', record(new.id) }
end

function operations.find_replay()
  local id = call('HGET', key('idempotency', given.owner), given.key)
  return id and record(id) or {}
end

function operations.get()
  return record(given.id)
end

function operations.list()
  local jobs = key('owner', given.status or 'all', given.owner)
  local from = given.after and '(' .. given.after or '+'
  return records(call('ZREVRANGEBYLEX', jobs, from, '-', 'LIMIT', 0, given.limit))
end

function operations.cancel()
  local job = load(given.id)
  if not job or not is_open(job) then
    return {}
  end
  finish(job, 'cancelled', 0)
  return record(job.id)
end

function operations.delete()
  local job = load(given.id)
  if job and is_open(job) or call('EXISTS', key('job', given.id)) == 0 then
    return 0
  end
  if job then
    remove(job)
  else
    purge(given.id)
  end
  return 1
end

function operations.usage()
  return usage(given.owner)
end

function operations.segments()
  local found = redis.pcall('LRANGE', key('segments', given.id), given.start, -1)
  return found.err and {} or found
end
