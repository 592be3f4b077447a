-- name: get_queues
SELECT queue, paused_at, paused_by, weight FROM rota_queues ORDER BY queue;

-- name: put_queue
INSERT INTO rota_queues (queue, paused_at, paused_by) VALUES (?, ?, ?)
ON CONFLICT (queue) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by;

-- name: put_queue_weight
INSERT INTO rota_queues (queue, weight) VALUES (?, ?) ON CONFLICT (queue) DO UPDATE SET weight = excluded.weight;

-- name: get_limits
SELECT kind, name, concurrency, starts, period, burst, declared FROM rota_limits ORDER BY kind, name;

-- Whether anything has a limit, and whether a key has.
-- name: any_limit
SELECT (SELECT 1 FROM rota_limits LIMIT 1) IS NOT NULL, (SELECT 1 FROM rota_limits WHERE kind = 'key' LIMIT 1) IS NOT NULL;

-- name: put_limit
INSERT INTO rota_limits (kind, name, concurrency, starts, period, burst, declared) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (kind, name) DO UPDATE SET concurrency = excluded.concurrency, starts = excluded.starts, period = excluded.period,
  burst = excluded.burst, declared = excluded.declared;

-- name: delete_limit
DELETE FROM rota_limits WHERE kind = ? AND name = ?;

-- name: delete_bucket
DELETE FROM rota_buckets WHERE kind = ? AND name = ?;

-- name: get_buckets
SELECT full_at FROM rota_buckets WHERE kind = ? AND name = ?;

-- name: put_buckets
INSERT INTO rota_buckets (kind, name, full_at) VALUES (?, ?, ?) ON CONFLICT (kind, name) DO UPDATE SET full_at = excluded.full_at;

-- name: running_lanes
SELECT queue, lane FROM rota_counts WHERE state = 'running' AND n > 0;

-- Counted up to a limit; of an array each shard counts.
-- name: count_running
SELECT count(*) FROM (SELECT 1 FROM rota_jobs INDEXED BY rota_jobs_uses WHERE state = 'running' AND queue = ? AND lane = ? LIMIT ?);

-- name: count_shards
SELECT coalesce(sum(a.live), 0) FROM rota_jobs j INDEXED BY rota_jobs_uses CROSS JOIN rota_arrays a ON a.job = j.id
WHERE j.state = 'running' AND j.queue = ? AND j.lane = ?;
