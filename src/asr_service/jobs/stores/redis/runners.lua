-- The operations of runners: leases, and what a lease's holder may change.

local PAGE = 20

local function can_start(id)
  local job = load(id)
  local not_before = job and tonumber(job.not_before or 0)
  if not job or not_before > tonumber(given.now) then
    return false
  end
  return job.failed_at ~= given.runner or not_before <= tonumber(given.others_first)
end

local function first_of(owner, priority)
  local start = 0
  while true do
    local ids = call('ZRANGE', key('waiting', priority, owner), start, start + PAGE - 1)
    for _, id in ipairs(ids) do
      if can_start(id) then
        return id
      end
    end
    if #ids < PAGE then
      return nil
    end
    start = start + PAGE
  end
end

local function is_older(job, other)
  local at, other_at = tonumber(job.created_at), tonumber(other.created_at)
  return at < other_at or (at == other_at and job.id < other.id)
end

-- The owners in turn; of owners whose turn is at the same time, such as those that are new, the one with the oldest job.
local function next_job()
  for _, priority in ipairs({ 'normal', 'low' }) do
    local owners = call('ZRANGE', key('owners', priority), 0, -1, 'WITHSCORES')
    local best, best_turn
    for i = 1, #owners, 2 do
      if best and owners[i + 1] ~= best_turn then
        break
      end
      local id = first_of(owners[i], priority)
      local job = id and load(id)
      if job and (not best or is_older(job, best)) then
        best, best_turn = job, owners[i + 1]
      end
    end
    if best then
      return best
    end
  end
end

-- Put a job back that has not failed; its attempt does not count.
local function give_back(job)
  leave(job)
  end_lease(job)
  call('HINCRBY', key('job', job.id), 'attempts', -1)
  enter(job, 'queued', job.created_at)
end

-- Give back the jobs of claims whose answers were lost.
local function give_back_unanswered()
  local is_unanswered = {}
  for _, token in ipairs(given.unanswered) do
    is_unanswered[token] = true
  end
  if next(is_unanswered) then
    for _, id in ipairs(call('ZRANGE', key('status', 'running'), 0, -1)) do
      local job = load(id)
      if job and is_unanswered[job.lease_token] then
        give_back(job)
      end
    end
  end
end

function operations.claim()
  give_back_unanswered()
  local job = next_job()
  if not job then
    return {}
  end
  local name = key('job', job.id)
  leave(job)
  call('HSETNX', name, 'started_at', given.now)
  call('HINCRBY', name, 'attempts', 1)
  call('HSET', name, 'runner', given.runner, 'lease_token', given.token, 'lease_until', given.lease_until)
  enter(job, 'running', given.lease_until)
  call('HSET', key('turns'), job.owner, given.now)
  for _, priority in ipairs({ 'normal', 'low' }) do
    call('ZADD', key('owners', priority), 'XX', given.now, job.owner)
  end
  return record(job.id)
end

function operations.renew()
  local job = load_held()
  if not job then
    return 0
  end
  call('HSET', key('job', job.id), 'lease_until', given.lease_until)
  call('ZADD', key('status', 'running'), given.lease_until, job.id)
  return 1
end

function operations.holds()
  return redis.pcall('HGET', key('job', given.id), 'lease_token') == given.token and 1 or 0
end

function operations.store_segments()
  local job = load_held()
  if not job then
    return 0
  end
  local segments, start = key('segments', job.id), tonumber(given.start)
  if start == 0 or call('TYPE', segments).ok ~= 'list' then
    call('DEL', segments)
  else
    call('LTRIM', segments, 0, start - 1)
  end
  for _, segment in ipairs(given.segments) do
    call('RPUSH', segments, segment)
  end
  call('HSET', key('job', job.id), 'resume_key', given.resume_key, 'audio_s_done', given.audio_s_done)
  set(key('job', job.id), 'audio_s_total', given.audio_s_total)
  return 1
end

-- A runner repeats `succeed` and `fail` if their answer was lost, so the token remains in the record.
local function has_ended(status)
  local job = load(given.id)
  return job and job.status == status and job.ended_by == given.token
end

local function end_attempt(status, result_bytes)
  local job = load_held()
  if not job then
    return has_ended(status) and 1 or 0
  end
  finish(job, status, result_bytes)
  call('HSET', key('job', job.id), 'ended_by', given.token)
  return 1
end

function operations.succeed()
  if load_held() then
    call('HSET', key('job', given.id), 'audio_s_done', given.audio_s, 'audio_s_total', given.audio_s)
  end
  return end_attempt('succeeded', tonumber(given.result_bytes))
end

function operations.fail()
  return end_attempt('failed', 0)
end

function operations.retry()
  local job = load_held()
  if not job then
    return 0
  end
  put_back(job, job.runner)
  if given.uncounted then
    call('HINCRBY', key('job', job.id), 'attempts', -1)
  end
  return 1
end

function operations.give_back()
  local job = load_held()
  if not job then
    return 0
  end
  give_back(job)
  return 1
end
