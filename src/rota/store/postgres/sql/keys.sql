-- How statements are written: see jobs.sql. What is held has a mark before its lane.

-- Jobs with a key that run, counted up to a limit. (With `=` a plan made while there are none would go through all that run.)
-- name: count_keys
SELECT u.key, j.n FROM unnest($1::text::text[], $2::text::int[]) AS u(key, most)
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM rota_jobs WHERE limit_key = u.key AND finished_at IS NULL AND state >= 'running' AND state <= 'running'
  LIMIT u.most) r) j;

-- name: running_of_key
SELECT id FROM rota_jobs WHERE limit_key = $1 AND finished_at IS NULL AND state >= 'running' AND state <= 'running' LIMIT $2;

-- Jobs with a key that claims of a lane look at, counted up to a limit.
-- name: ready_of_key
SELECT count(*) FROM (SELECT 1 FROM rota_jobs WHERE limit_key = $1 AND finished_at IS NULL AND state = 'queued' AND queue = $2 AND lane = $3
  LIMIT $4) r;

-- Whoever holds jobs of keys back, or releases them, does so alone, and counts after it has these. Nobody who holds them waits for a job.
-- name: lock_keys
SELECT pg_advisory_xact_lock(n) FROM unnest($1::bigint[]) AS n;

-- name: hold_jobs
WITH u AS MATERIALIZED (
  SELECT h.tid FROM unnest($1::text::text[], $2::text::text[], $3::text::text[]) AS k(key, queue, lane)
  CROSS JOIN LATERAL (SELECT ctid AS tid FROM rota_jobs WHERE limit_key = k.key AND finished_at IS NULL AND state = 'queued' AND queue = k.queue
    AND lane = k.lane LIMIT $4 FOR NO KEY UPDATE SKIP LOCKED) h)
UPDATE rota_jobs AS j SET lane = 'held:' || j.lane FROM u WHERE j.ctid = u.tid RETURNING 1;

-- name: release_jobs
WITH u AS MATERIALIZED (
  SELECT h.tid FROM unnest($1::text::text[]) AS k(job)
  CROSS JOIN LATERAL (SELECT ctid AS tid, state, lane FROM rota_jobs WHERE id = k.job OFFSET 0 FOR NO KEY UPDATE SKIP LOCKED) h
  WHERE h.state = 'queued' AND substr(h.lane, 1, 5) = 'held:')
UPDATE rota_jobs AS j SET lane = substr(j.lane, 6) FROM u WHERE j.ctid = u.tid RETURNING j.id;

-- Keys that jobs are held of, by their names, from after one on.
-- name: held_keys
WITH RECURSIVE w AS (
  SELECT 1 AS n, f.* FROM (SELECT limit_key FROM rota_jobs WHERE limit_key > $1 AND state = 'queued' AND substr(lane, 1, 5) = 'held:'
    ORDER BY limit_key LIMIT 1) f
  UNION ALL
  SELECT w.n + 1, f.* FROM w CROSS JOIN LATERAL (SELECT limit_key FROM rota_jobs WHERE limit_key > w.limit_key AND state = 'queued' AND substr(lane, 1, 5) = 'held:' ORDER BY limit_key LIMIT 1) f
  WHERE w.n < $2)
SELECT limit_key FROM w;

-- name: are_held
SELECT u.key FROM unnest($1::text::text[]) AS u(key) CROSS JOIN LATERAL (SELECT 1 FROM rota_jobs WHERE limit_key = u.key AND state = 'queued'
  AND substr(lane, 1, 5) = 'held:' LIMIT 1) h;

-- The rows of turns that jobs of a key are held of, from after one on, each with its first jobs.
-- name: held_turns
WITH RECURSIVE w AS (
  SELECT 1 AS n, f.* FROM (SELECT queue, lane, owner, priority FROM rota_jobs WHERE limit_key = $1 AND state = 'queued' AND substr(lane, 1, 5) = 'held:'
    AND (queue, lane, owner, priority) > ($2, $3, $4, $5) ORDER BY queue, lane, owner, priority LIMIT 1) f
  UNION ALL
  SELECT w.n + 1, f.* FROM w CROSS JOIN LATERAL (SELECT queue, lane, owner, priority FROM rota_jobs WHERE limit_key = $1 AND state = 'queued'
    AND substr(lane, 1, 5) = 'held:' AND (queue, lane, owner, priority) > (w.queue, w.lane, w.owner, w.priority)
    ORDER BY queue, lane, owner, priority LIMIT 1) f
  WHERE w.n < $6)
SELECT w.queue, w.lane, w.priority, w.owner, coalesce(t.turn, 0), coalesce(c.clock, 0), coalesce(o.weight, 1), h.run_at, h.id
FROM w
LEFT JOIN LATERAL (SELECT max(turn) AS turn FROM rota_turns WHERE queue = w.queue AND priority = w.priority AND owner = w.owner) t ON true
LEFT JOIN LATERAL (SELECT clock FROM rota_clocks WHERE queue = w.queue AND priority = w.priority OFFSET 0) c ON true
LEFT JOIN LATERAL (SELECT weight FROM rota_owners WHERE owner = w.owner OFFSET 0) o ON true
CROSS JOIN LATERAL (SELECT run_at, id FROM rota_jobs WHERE limit_key = $1 AND state = 'queued' AND substr(lane, 1, 5) = 'held:'
  AND queue = w.queue AND lane = w.lane AND owner = w.owner AND priority = w.priority ORDER BY run_at, id LIMIT $7) h;

-- name: forget_buckets
DELETE FROM rota_buckets WHERE kind = 'key' AND name = ANY (ARRAY(SELECT name FROM rota_buckets WHERE kind = 'key' AND full_at < $1
  ORDER BY full_at LIMIT $2)) RETURNING 1;
