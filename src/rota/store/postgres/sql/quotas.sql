-- name: get_quotas
SELECT o.* FROM unnest($1::text::text[]) AS u(owner) CROSS JOIN LATERAL (
  SELECT owner, weight, max_priority, max_waiting, max_running, max_bytes FROM rota_owners
  WHERE owner = u.owner AND (max_waiting IS NOT NULL OR max_bytes IS NOT NULL) OFFSET 0) o;

-- The same, and the answer of a key, in one: what a submission begins with.
-- name: get_answer_and_quotas
SELECT a.fingerprint, a.body, o.* FROM (VALUES (1)) AS v(v)
LEFT JOIN LATERAL (SELECT fingerprint, body FROM rota_answers WHERE key = $1 OFFSET 0) a ON true
LEFT JOIN LATERAL (
  SELECT q.* FROM unnest($2::text::text[]) AS u(owner) CROSS JOIN LATERAL (
    SELECT owner, weight, max_priority, max_waiting, max_running, max_bytes FROM rota_owners
    WHERE owner = u.owner AND (max_waiting IS NOT NULL OR max_bytes IS NOT NULL) OFFSET 0) q) o ON true;

-- Whoever submits jobs of an owner with quotas holds it, from before it looks at what is kept until it has committed.
-- name: hold_quotas
SELECT pg_advisory_xact_lock(n) FROM unnest($1::bigint[]) AS n;
-- The same, for a transaction that holds something already: it must not wait.
-- name: hold_quotas_now
SELECT pg_try_advisory_xact_lock(n) FROM unnest($1::bigint[]) AS n;

-- name: get_kept
SELECT u.owner, k.waiting, k.size FROM unnest($1::text::text[]) AS u(owner) CROSS JOIN LATERAL (
  SELECT coalesce(sum(waiting), 0)::bigint AS waiting, coalesce(sum(size), 0)::bigint AS size FROM rota_kept WHERE owner = u.owner) k;

-- name: delete_kept
DELETE FROM rota_kept WHERE owner = $1;

-- Counted anew, by the jobs themselves.
-- name: count_kept
INSERT INTO rota_kept (owner, part, waiting, size)
SELECT $1, 0, count(*) FILTER (WHERE state <> 'running'), coalesce(sum(size), 0)::bigint FROM rota_jobs
WHERE state IN ('blocked', 'scheduled', 'queued', 'running') AND owner = $1;

-- What may run of owners, and what does: of an array each shard counts.
-- name: places_of
SELECT o.owner, o.max_running, coalesce((
  SELECT sum(n) FROM (SELECT queue, lane, starts_with(lane, 'array:') AS cut FROM rota_counts WHERE state = 'running' GROUP BY queue, lane HAVING sum(n) > 0) l
  CROSS JOIN LATERAL (
    SELECT count(*) AS n FROM rota_jobs WHERE NOT l.cut AND state = 'running' AND queue = l.queue AND lane = l.lane AND owner = o.owner
    UNION ALL
    SELECT sum(a.live) FROM (SELECT id FROM rota_jobs WHERE l.cut AND state = 'running' AND queue = l.queue AND lane = l.lane AND owner = o.owner OFFSET 0) r
    CROSS JOIN LATERAL (SELECT live FROM rota_arrays WHERE job = r.id OFFSET 0) a) j), 0)::bigint
FROM unnest($1::text::text[]) AS u(owner) CROSS JOIN LATERAL (
  SELECT owner, max_running FROM rota_owners WHERE owner = u.owner AND max_running IS NOT NULL OFFSET 0) o;
