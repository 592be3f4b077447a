-- name: get_owners
SELECT o.* FROM unnest($1::text[]) AS u(owner) CROSS JOIN LATERAL (
  SELECT owner, weight, max_priority, max_waiting, max_running, max_bytes FROM rota_owners WHERE owner = u.owner OFFSET 0) o;

-- name: lock_owner
SELECT owner, weight, max_priority, max_waiting, max_running, max_bytes FROM rota_owners WHERE owner = $1 FOR NO KEY UPDATE;

-- name: put_owner
INSERT INTO rota_owners (owner, weight, max_priority, max_waiting, max_running, max_bytes) VALUES ($1,$2,$3,$4,$5,$6)
ON CONFLICT (owner) DO UPDATE SET weight = excluded.weight, max_priority = excluded.max_priority, max_waiting = excluded.max_waiting,
  max_running = excluded.max_running, max_bytes = excluded.max_bytes;

-- The next owners that have jobs, or that something was set for.
-- name: next_owners
WITH RECURSIVE w AS (
  SELECT 1 AS n, least((SELECT owner FROM rota_listed WHERE owner > $1 ORDER BY owner LIMIT 1),
    (SELECT owner FROM rota_owners WHERE owner > $1 ORDER BY owner LIMIT 1)) AS owner
  UNION ALL
  SELECT w.n + 1, least((SELECT owner FROM rota_listed WHERE owner > w.owner ORDER BY owner LIMIT 1),
    (SELECT owner FROM rota_owners WHERE owner > w.owner ORDER BY owner LIMIT 1)) FROM w
  WHERE w.n < $2 AND w.owner IS NOT NULL)
SELECT w.n, w.owner, coalesce(o.weight, 1), o.max_priority, o.max_waiting, o.max_running, o.max_bytes
FROM w LEFT JOIN LATERAL (SELECT * FROM rota_owners WHERE owner = w.owner OFFSET 0) o ON true WHERE w.owner IS NOT NULL;

-- name: ready_owners
SELECT t.queue, t.priority, t.owner, t.lane, t.turn, coalesce(c.clock, 0), coalesce(o.weight, 1)
FROM (SELECT queue, priority, owner, lane, turn FROM rota_turns WHERE state = 'ready' ORDER BY queue, lane, priority DESC LIMIT $1) t
LEFT JOIN LATERAL (SELECT clock FROM rota_clocks WHERE queue = t.queue AND priority = t.priority OFFSET 0) c ON true
LEFT JOIN LATERAL (SELECT weight FROM rota_owners WHERE owner = t.owner OFFSET 0) o ON true;

-- What runs now, of everybody: jobs, and shards of arrays; and for how long since a moment.
-- name: running_jobs
SELECT owner, $1::bigint - greatest(started_at, $2::bigint) FROM rota_jobs WHERE state = 'running' AND worker >= '';
-- name: running_shards
SELECT j.owner, $1::bigint - greatest(s.started_at, $2::bigint) FROM rota_shards s
CROSS JOIN LATERAL (SELECT owner FROM rota_jobs WHERE id = s.job OFFSET 0) j WHERE s.worker >= '';

-- Sorted, for servers may write the same ones at once.
-- name: add_usage
INSERT INTO rota_usage AS r (owner, minute, used)
SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::bigint[])
ON CONFLICT (owner, minute) DO UPDATE SET used = r.used + excluded.used;

-- name: usage_of
SELECT coalesce(sum(used), 0)::bigint FROM rota_usage WHERE owner = $1 AND minute >= $2;

-- name: forget_usage
WITH u AS MATERIALIZED (SELECT ctid AS tid FROM rota_usage WHERE minute < $1 ORDER BY minute LIMIT $2 FOR UPDATE SKIP LOCKED)
DELETE FROM rota_usage AS r USING u WHERE r.ctid = u.tid RETURNING 1;
