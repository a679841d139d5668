-- The deliveries of webhooks.

function operations.of_job()
  local found = {}
  for i, id in ipairs(call('ZRANGE', key('deliveries', given.id), 0, -1)) do
    found[i] = with_key(key('delivery', id), id)
  end
  return found
end

function operations.claim()
  allow_full_memory()
  local id = call('ZRANGEBYSCORE', key('due'), '-inf', given.now, 'LIMIT', 0, 1)[1]
  if not id then
    return {}
  end
  call('ZADD', key('due'), given.lease_until, id)
  redis.pcall('HINCRBY', key('delivery', id), 'attempts', 1)
  redis.pcall('HSET', key('delivery', id), 'due_at', given.lease_until)
  return with_key(key('delivery', id), id)
end

-- Never send a delivery whose record is damaged.
function operations.drop()
  allow_full_memory()
  call('ZREM', key('due'), given.id)
end

-- Return the key of a delivery whose attempt with the given number has begun last, and has not ended; else false.
local function under_way()
  allow_full_memory()
  local name = key('delivery', given.id)
  local found = call('HMGET', name, 'attempts', 'due_at')
  return found[1] == given.attempts and found[2] and name
end

function operations.postpone()
  local name = under_way()
  if not name then
    return 0
  end
  call('HINCRBY', name, 'attempts', -1)
  call('HSET', name, 'due_at', given.due_at)
  call('ZADD', key('due'), given.due_at, given.id)
  return 1
end

function operations.end_attempt()
  local name = under_way()
  if not name then
    return 0
  end
  set(name, 'due_at', given.due_at)
  set(name, 'delivered_at', given.delivered_at)
  set(name, 'last_status', given.status)
  set(name, 'last_error', given.error)
  if given.due_at then
    call('ZADD', key('due'), given.due_at, given.id)
  else
    call('ZREM', key('due'), given.id)
  end
  return 1
end
