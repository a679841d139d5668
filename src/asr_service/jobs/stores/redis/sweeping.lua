-- The operations of the sweeper.

local MOST = 1000 -- jobs that one call changes; the others follow with the next sweep
local ENDED = { 'succeeded', 'failed', 'cancelled' }

local function before(status, time)
  return call('ZRANGEBYSCORE', key('status', status), '-inf', '(' .. time, 'LIMIT', 0, MOST)
end

function operations.lapsed()
  return records(before('running', given.now))
end

-- Put a job back whose lease has lapsed, or fail it if `not_before` is absent: it had its last attempt.
function operations.requeue()
  local job = load(given.id)
  if not job or job.status ~= 'running' or tonumber(job.lease_until) >= tonumber(given.now) then
    return {}
  end
  if given.not_before then
    put_back(job, nil)
  else
    finish(job, 'failed', 0)
  end
  return record(job.id)
end

function operations.expire()
  local changed = {}
  for _, id in ipairs(before('expired', given.forget_before)) do
    local job = load(id)
    if job then
      remove(job)
    else
      purge(id)
    end
    table.insert(changed, id)
  end
  for _, status in ipairs({ 'queued', 'running' }) do
    for _, id in ipairs(before(status, given.forget_before)) do
      if not load(id) then
        purge(id)
        table.insert(changed, id)
      end
    end
  end
  for _, status in ipairs(ENDED) do
    for _, id in ipairs(before(status, given.now)) do
      local job = load(id)
      if job then
        leave(job)
        set_bytes(job, job.audio_bytes, 0)
        enter(job, 'expired', job.expires_at)
      else
        purge(id)
      end
      table.insert(changed, id)
    end
  end
  return changed
end

function operations.open()
  local found = {}
  for _, id in ipairs(given.ids) do
    local status = redis.pcall('HGET', key('job', id), 'status')
    if status == 'queued' or status == 'running' then
      table.insert(found, id)
    end
  end
  return found
end

function operations.counts()
  local counts = {}
  for i, status in ipairs(given.statuses) do
    counts[i] = call('ZCARD', key('status', status))
  end
  return { counts, call('ZRANGE', key('status', 'queued'), 0, 0, 'WITHSCORES') }
end

function operations.files_id()
  if given.offered ~= '' then
    allow_full_memory()
    call('SETNX', key('files'), given.offered)
  end
  return call('GET', key('files')) or ''
end
