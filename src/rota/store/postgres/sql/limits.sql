-- name: get_queues
SELECT queue, paused_at, paused_by, weight FROM rota_queues ORDER BY queue;

-- name: put_queue
INSERT INTO rota_queues (queue, paused_at, paused_by) VALUES ($1, $2, $3)
ON CONFLICT (queue) DO UPDATE SET paused_at = excluded.paused_at, paused_by = excluded.paused_by;

-- name: put_queue_weight
INSERT INTO rota_queues (queue, weight) VALUES ($1, $2) ON CONFLICT (queue) DO UPDATE SET weight = excluded.weight;

-- name: get_limits
SELECT kind, name, concurrency, starts, period, burst, declared FROM rota_limits ORDER BY kind, name;

-- name: put_limit
INSERT INTO rota_limits (kind, name, concurrency, starts, period, burst, declared) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (kind, name) DO UPDATE SET concurrency = excluded.concurrency, starts = excluded.starts, period = excluded.period,
  burst = excluded.burst, declared = excluded.declared;

-- name: delete_limit
DELETE FROM rota_limits WHERE kind = $1 AND name = $2;

-- name: delete_bucket
DELETE FROM rota_buckets WHERE kind = $1 AND name = $2;

-- Whoever may start something that has a limit holds it, from before it counts until it has committed: so what it counts is all
-- there is, in a statement of its own. The numbers come sorted. Returns nothing, so that it goes along with that one.
-- name: hold_limits
SELECT FROM unnest($1::bigint[]) AS n WHERE pg_advisory_xact_lock(n) IS NULL;

-- name: get_buckets
SELECT b.* FROM unnest($1::text::text[], $2::text::text[]) AS u(kind, name)
CROSS JOIN LATERAL (SELECT kind, name, full_at FROM rota_buckets WHERE kind = u.kind AND name = u.name OFFSET 0) b;

-- name: put_buckets
INSERT INTO rota_buckets (kind, name, full_at) SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[])
ON CONFLICT (kind, name) DO UPDATE SET full_at = excluded.full_at;

-- name: running_lanes
SELECT queue, lane FROM rota_counts WHERE state = 'running' GROUP BY queue, lane HAVING sum(n) > 0;

-- Counted up to a limit; of an array each shard counts.
-- name: count_running
SELECT u.n, j.n FROM unnest($1::text::text[], $2::text::text[], $3::text::int[]) WITH ORDINALITY AS u(queue, lane, most, n)
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM rota_jobs WHERE state = 'running' AND queue = u.queue AND lane = u.lane LIMIT u.most) r) j;

-- name: count_shards
SELECT u.n, j.n FROM unnest($1::text::text[], $2::text::text[]) WITH ORDINALITY AS u(queue, lane, n)
CROSS JOIN LATERAL (SELECT coalesce(sum(a.live), 0)::bigint AS n
  FROM (SELECT id FROM rota_jobs WHERE state = 'running' AND queue = u.queue AND lane = u.lane OFFSET 0) r
  CROSS JOIN LATERAL (SELECT live FROM rota_arrays WHERE job = r.id OFFSET 0) a) j;
