-- name: put_series
INSERT INTO rota_series (step, queue, at, server, sums)
SELECT * FROM unnest($1::text::int[], $2::text::text[], $3::text::bigint[], $4::text::text[], $5::text::text[])
ON CONFLICT (step, queue, at, server) DO UPDATE SET sums = excluded.sums;

-- name: series
SELECT at, server, sums FROM rota_series WHERE step = $1 AND queue = $2 AND at >= $3 AND at < $4 ORDER BY at, server LIMIT $5;

-- What all servers have counted lately, of all queues.
-- name: recent_series
SELECT queue, at, server, sums FROM rota_series WHERE step = $1 AND at >= $2 LIMIT $3;

-- name: prune_series
WITH gone AS (DELETE FROM rota_series WHERE ctid = ANY(ARRAY(SELECT ctid FROM rota_series WHERE step = $1 AND at < $2 LIMIT $3)) RETURNING 1)
SELECT count(*) FROM gone;

-- Of an error only its beginning: tracebacks are long.
-- name: bad_attempts
SELECT a.job, a.attempt, a.worker, a.started_at, a.finished_at, a.outcome, a.first, a.inputs, j.state, j.kind, j.handler, j.owner, j.queue,
  substr(a.error, 1, $1::int)
FROM (SELECT * FROM rota_attempts WHERE outcome <> 'succeeded' AND finished_at >= $2 AND finished_at < $3 ORDER BY finished_at DESC LIMIT $4) a
CROSS JOIN LATERAL (SELECT state, kind, handler, owner, queue FROM rota_jobs WHERE id = a.job OFFSET 0) j;

-- name: good_shards
SELECT a.job, a.attempt, a.worker, a.started_at, a.finished_at, a.outcome, a.first, a.inputs, j.state, j.kind, j.handler, j.owner, j.queue,
  NULL::text
FROM (SELECT * FROM rota_attempts WHERE outcome = 'succeeded' AND first IS NOT NULL AND finished_at >= $1 AND finished_at < $2
  ORDER BY finished_at DESC LIMIT $3) a
CROSS JOIN LATERAL (SELECT state, kind, handler, owner, queue FROM rota_jobs WHERE id = a.job OFFSET 0) j;

-- The last attempts of jobs that are over. Those that never ran, and arrays, are among them.
-- name: ended_between
SELECT id, attempt, worker, started_at, finished_at, state, NULL::int, inputs, state, kind, handler, owner, queue, substr(error, 1, $1::int)
FROM rota_jobs WHERE finished_at IS NOT NULL AND finished_at >= $2 AND finished_at < $3 ORDER BY finished_at DESC LIMIT $4;

-- The same, those that ended first: which of them had begun before?
-- name: ended_after
SELECT id, attempt, worker, started_at, finished_at, state, NULL::int, inputs, state, kind, handler, owner, queue, NULL::text
FROM rota_jobs WHERE finished_at IS NOT NULL AND finished_at >= $1 ORDER BY finished_at LIMIT $2;

-- name: failed_arrays
SELECT id, attempt, worker, started_at, finished_at, state, NULL::int, inputs, state, kind, handler, owner, queue, substr(error, 1, $1::int)
FROM rota_jobs WHERE state = 'failed' AND inputs IS NOT NULL AND finished_at >= $2 AND finished_at < $3 ORDER BY finished_at DESC LIMIT $4;

-- name: running_now
SELECT id, attempt, worker, started_at, NULL::bigint, NULL::text, NULL::int, inputs, state, kind, handler, owner, queue, NULL::text, coalesce(slots, 1)
FROM rota_jobs WHERE state = 'running' AND worker IS NOT NULL ORDER BY worker LIMIT $1;

-- name: shards_now
SELECT s.job, s.attempt, s.worker, s.started_at, NULL::bigint, NULL::text, s.first, s.n, j.state, j.kind, j.handler, j.owner, j.queue, NULL::text, coalesce(j.slots, 1)
FROM (SELECT * FROM rota_shards ORDER BY worker LIMIT $1) s
CROSS JOIN LATERAL (SELECT state, kind, handler, owner, queue, slots FROM rota_jobs WHERE id = s.job OFFSET 0) j;
