-- name: put_series
INSERT INTO rota_series (step, queue, at, server, sums) VALUES (?,?,?,?,?)
ON CONFLICT (step, queue, at, server) DO UPDATE SET sums = excluded.sums;

-- name: series
SELECT at, server, sums FROM rota_series WHERE step = ? AND queue = ? AND at >= ? AND at < ? ORDER BY at, server LIMIT ?;

-- What all servers have counted lately, of all queues.
-- name: recent_series
SELECT queue, at, server, sums FROM rota_series INDEXED BY rota_series_at WHERE step = ? AND at >= ? LIMIT ?;

-- name: prune_series
DELETE FROM rota_series WHERE (step, queue, at, server) IN (
  SELECT step, queue, at, server FROM rota_series INDEXED BY rota_series_at WHERE step = ? AND at < ? LIMIT ?);

-- Of an error only its beginning: tracebacks are long.
-- name: bad_attempts
SELECT a.job, a.attempt, a.worker, a.started_at, a.finished_at, a.outcome, a.first, a.inputs, j.state, j.kind, j.handler, j.owner, j.queue,
  substr(a.error, 1, ?)
FROM rota_attempts a INDEXED BY rota_attempts_bad CROSS JOIN rota_jobs j ON j.id = a.job
WHERE a.outcome <> 'succeeded' AND a.finished_at >= ? AND a.finished_at < ? ORDER BY a.finished_at DESC LIMIT ?;

-- name: good_shards
SELECT a.job, a.attempt, a.worker, a.started_at, a.finished_at, a.outcome, a.first, a.inputs, j.state, j.kind, j.handler, j.owner, j.queue, NULL
FROM rota_attempts a INDEXED BY rota_attempts_shards CROSS JOIN rota_jobs j ON j.id = a.job
WHERE a.outcome = 'succeeded' AND a.first IS NOT NULL AND a.finished_at >= ? AND a.finished_at < ? ORDER BY a.finished_at DESC LIMIT ?;

-- The last attempts of jobs that are over. Those that never ran, and arrays, are among them.
-- name: ended_between
SELECT id, attempt, worker, started_at, finished_at, state, NULL, inputs, state, kind, handler, owner, queue, substr(error, 1, ?)
FROM rota_jobs INDEXED BY rota_jobs_over WHERE finished_at IS NOT NULL AND finished_at >= ? AND finished_at < ? ORDER BY finished_at DESC LIMIT ?;

-- The same, those that ended first: which of them had begun before?
-- name: ended_after
SELECT id, attempt, worker, started_at, finished_at, state, NULL, inputs, state, kind, handler, owner, queue, NULL
FROM rota_jobs INDEXED BY rota_jobs_over WHERE finished_at IS NOT NULL AND finished_at >= ? ORDER BY finished_at LIMIT ?;

-- name: failed_arrays
SELECT id, attempt, worker, started_at, finished_at, state, NULL, inputs, state, kind, handler, owner, queue, substr(error, 1, ?)
FROM rota_jobs INDEXED BY rota_jobs_failed_arrays WHERE state = 'failed' AND inputs IS NOT NULL AND finished_at >= ? AND finished_at < ?
ORDER BY finished_at DESC LIMIT ?;

-- name: running_now
SELECT id, attempt, worker, started_at, NULL, NULL, NULL, inputs, state, kind, handler, owner, queue, NULL, coalesce(slots, 1)
FROM rota_jobs INDEXED BY rota_jobs_running WHERE state = 'running' AND worker IS NOT NULL ORDER BY worker LIMIT ?;

-- name: shards_now
SELECT s.job, s.attempt, s.worker, s.started_at, NULL, NULL, s.first, s.n, j.state, j.kind, j.handler, j.owner, j.queue, NULL, coalesce(j.slots, 1)
FROM rota_shards s INDEXED BY rota_shards_worker CROSS JOIN rota_jobs j ON j.id = s.job ORDER BY s.worker LIMIT ?;
