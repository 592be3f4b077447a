-- name: get_owners
SELECT owner, weight, max_priority, max_waiting, max_running, max_bytes FROM rota_owners WHERE owner = ?;

-- name: put_owner
INSERT INTO rota_owners (owner, weight, max_priority, max_waiting, max_running, max_bytes) VALUES (?,?,?,?,?,?)
ON CONFLICT (owner) DO UPDATE SET weight = excluded.weight, max_priority = excluded.max_priority, max_waiting = excluded.max_waiting,
  max_running = excluded.max_running, max_bytes = excluded.max_bytes;

-- The next owner that has jobs, and the next that something was set for: asked again from the lower one.
-- name: next_owners
SELECT owner FROM rota_jobs INDEXED BY rota_jobs_owner WHERE owner > ? ORDER BY owner LIMIT 1;
-- name: next_set_owner
SELECT owner FROM rota_owners WHERE owner > ? ORDER BY owner LIMIT 1;

-- name: ready_owners
SELECT t.queue, t.priority, t.owner, t.lane, t.turn, coalesce(c.clock, 0), coalesce(o.weight, 1)
FROM rota_turns t INDEXED BY rota_turns_ready
LEFT JOIN rota_clocks c ON c.queue = t.queue AND c.priority = t.priority LEFT JOIN rota_owners o ON o.owner = t.owner
WHERE t.state = 'ready' LIMIT ?;

-- What runs now, of everybody: jobs, and shards of arrays; and for how long since a moment.
-- name: running_jobs
SELECT owner, :now - max(started_at, :since) FROM rota_jobs INDEXED BY rota_jobs_running WHERE state = 'running' AND worker >= '';
-- name: running_shards
SELECT j.owner, :now - max(s.started_at, :since) FROM rota_shards s INDEXED BY rota_shards_worker CROSS JOIN rota_jobs j ON j.id = s.job
WHERE s.worker >= '';

-- name: add_usage
INSERT INTO rota_usage (owner, minute, used) VALUES (?, ?, ?) ON CONFLICT (owner, minute) DO UPDATE SET used = used + excluded.used;

-- name: usage_of
SELECT coalesce(sum(used), 0) FROM rota_usage WHERE owner = ? AND minute >= ?;

-- name: forget_usage
DELETE FROM rota_usage WHERE (owner, minute) IN (SELECT owner, minute FROM rota_usage INDEXED BY rota_usage_minute WHERE minute < ? LIMIT ?);
