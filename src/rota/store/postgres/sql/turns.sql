-- How statements are written: see jobs.sql. Who makes a job ready holds its row of turns, as a foreign key would (FOR KEY SHARE);
-- who makes rows empty holds them FOR UPDATE, and passes over those that somebody else holds. Charges go past both.

-- All lanes with queued jobs whose queue is not paused, and of those that are asked for the first rows whose turn it is, each with its first jobs
-- (core/fairness.py `depth_of`), but for those of some owners. In one statement: a claim asks nothing else before it takes, unless there are
-- limits.
-- name: turns
WITH r AS MATERIALIZED (
  SELECT a.queue, a.lane, t.priority, t.owner, t.turn, t.served_at
  FROM (SELECT queue, lane FROM rota_counts WHERE state IN ('queued', 'open')
      AND queue <> ALL (ARRAY(SELECT queue FROM rota_queues WHERE paused_at IS NOT NULL)) GROUP BY queue, lane HAVING sum(n) > 0) a
  LEFT JOIN LATERAL (
    SELECT priority, owner, turn, served_at FROM rota_turns WHERE queue = a.queue AND lane = a.lane AND state = 'ready'
      AND owner <> ALL ($5::text::text[])
    ORDER BY priority DESC, turn, served_at
    LIMIT coalesce((SELECT l.most FROM unnest($1::text::text[], $2::text::text[], $3::text::int[]) AS l(queue, lane, most)
      WHERE l.queue = a.queue AND l.lane = a.lane LIMIT 1), 0)) t ON true),
k AS MATERIALIZED (SELECT (SELECT 1 FROM rota_limits WHERE kind = 'key' LIMIT 1) IS NOT NULL AS keyed),
d AS MATERIALIZED (SELECT CASE WHEN count(owner) <= 1 AND NOT (SELECT keyed FROM k) THEN 2
  ELSE 1 + least($4::bigint, (256 + 2 * $4::bigint) / greatest(count(owner), 1)) END AS depth FROM r)
SELECT r.queue, r.lane, r.priority, r.owner, r.turn, coalesce(c.clock, 0), coalesce(o.weight, 1), r.served_at, d.depth, h.run_ats, h.ids, h.keys,
  o.max_running, coalesce(q.weight, 1), (SELECT 1 FROM rota_limits LIMIT 1) IS NOT NULL, (SELECT keyed FROM k)
FROM d CROSS JOIN r
LEFT JOIN LATERAL (SELECT clock FROM rota_clocks WHERE queue = r.queue AND priority = r.priority OFFSET 0) c ON true
LEFT JOIN LATERAL (SELECT weight, max_running FROM rota_owners WHERE owner = r.owner OFFSET 0) o ON true
LEFT JOIN LATERAL (SELECT weight FROM rota_queues WHERE queue = r.queue OFFSET 0) q ON true
LEFT JOIN LATERAL (SELECT array_agg(run_at) AS run_ats, array_agg(id) AS ids, CASE WHEN (SELECT keyed FROM k) THEN array_agg(limit_key) END AS keys
  FROM (SELECT run_at, id, limit_key FROM rota_jobs WHERE (state = 'queued' OR open) AND queue = r.queue AND lane = r.lane AND owner = r.owner
    AND priority = r.priority ORDER BY run_at, id LIMIT d.depth) j) h ON true;

-- The rows of lanes that were served longest ago, each with its first job.
-- name: oldest_turns
SELECT t.queue, t.lane, t.priority, t.owner, t.turn, coalesce(c.clock, 0), coalesce(o.weight, 1), t.served_at, 1, h.run_ats, h.ids, h.keys,
  o.max_running, coalesce(q.weight, 1)
FROM unnest($1::text::text[], $2::text::text[]) AS l(queue, lane)
CROSS JOIN LATERAL (SELECT queue, lane, priority, owner, turn, served_at FROM rota_turns
  WHERE queue = l.queue AND lane = l.lane AND state = 'ready' AND served_at < $3 ORDER BY served_at LIMIT $4) t
LEFT JOIN LATERAL (SELECT clock FROM rota_clocks WHERE queue = t.queue AND priority = t.priority OFFSET 0) c ON true
LEFT JOIN LATERAL (SELECT weight, max_running FROM rota_owners WHERE owner = t.owner OFFSET 0) o ON true
LEFT JOIN LATERAL (SELECT weight FROM rota_queues WHERE queue = t.queue OFFSET 0) q ON true
LEFT JOIN LATERAL (SELECT ARRAY[run_at] AS run_ats, ARRAY[id] AS ids, ARRAY[limit_key] AS keys FROM rota_jobs WHERE (state = 'queued' OR open)
  AND queue = t.queue AND lane = t.lane AND owner = t.owner AND priority = t.priority ORDER BY run_at, id LIMIT 1) h ON true;

-- How many jobs rows have, counted up to a limit each.
-- name: ready_counts
SELECT u.n, j.n FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::text[], $5::text::int[]) WITH ORDINALITY
  AS u(queue, priority, owner, lane, most, n)
CROSS JOIN LATERAL (SELECT count(*) AS n FROM (SELECT 1 FROM rota_jobs WHERE (state = 'queued' OR open) AND queue = u.queue AND lane = u.lane
  AND owner = u.owner AND priority = u.priority LIMIT u.most) h) j;

-- name: ready_before
SELECT count(*) FROM (SELECT 1 FROM rota_jobs WHERE (state = 'queued' OR open) AND queue = $1 AND lane = $2 AND owner = $3 AND priority = $4
  AND (run_at, id) < ($5, $6) LIMIT $7) h;

-- Holds those of these rows that are there and not empty, which come sorted; makes the others, ready. Who comes new, or again, is due
-- at the clock, or at its own turn if that is later. A row that was held empty by somebody else is waited for.
-- name: put_turns
WITH u AS MATERIALIZED (
  SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::text[]) AS u(queue, priority, owner, lane)),
h AS MATERIALIZED (
  SELECT u.*, t.held FROM u LEFT JOIN LATERAL (SELECT 1 AS held FROM rota_turns WHERE queue = u.queue AND priority = u.priority
    AND owner = u.owner AND lane = u.lane AND state <> 'empty' OFFSET 0 FOR KEY SHARE) t ON true)
INSERT INTO rota_turns AS t (queue, priority, owner, lane, turn, state, served_at)
SELECT h.queue, h.priority, h.owner, h.lane, greatest(c.clock, o.turn, 0), 'ready', $5::bigint
FROM h
LEFT JOIN LATERAL (SELECT clock FROM rota_clocks WHERE queue = h.queue AND priority = h.priority OFFSET 0) c ON true
LEFT JOIN LATERAL (SELECT max(turn) AS turn FROM rota_turns WHERE queue = h.queue AND priority = h.priority AND owner = h.owner) o ON true
WHERE h.held IS NULL
ON CONFLICT (queue, priority, owner, lane) DO UPDATE SET state = 'ready', turn = greatest(t.turn, excluded.turn), served_at = excluded.served_at
WHERE t.state = 'empty';

-- What starts cost, and how far the clocks have gone: written where nobody else writes. Returns whose charge was written, or has no
-- row to be written to. A clock that somebody else moves is left alone; those that are not there yet are made.
-- name: charge_turns
WITH u AS MATERIALIZED (
  SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[]) WITH ORDINALITY
    AS u(queue, priority, owner, units, owed, due, n)),
s AS MATERIALIZED (SELECT * FROM unnest($7::text::bigint[], $8::text::text[]) AS s(n, lane)),
r AS MATERIALIZED (
  SELECT u.n, u.units, u.owed, u.due, t.tid, EXISTS (SELECT 1 FROM s WHERE s.n = u.n AND s.lane = t.lane) AS served
  FROM u CROSS JOIN LATERAL (SELECT ctid AS tid, lane FROM rota_turns WHERE queue = u.queue AND priority = u.priority AND owner = u.owner
    OFFSET 0 FOR NO KEY UPDATE SKIP LOCKED) t),
w AS (
  UPDATE rota_turns AS t SET turn = greatest(t.turn + r.owed, r.due) + r.units, served_at = CASE WHEN r.served THEN $12::bigint ELSE t.served_at END
  FROM r WHERE t.ctid = r.tid),
k AS MATERIALIZED (SELECT * FROM unnest($9::text::text[], $10::text::bigint[], $11::text::bigint[]) AS k(queue, priority, clock)),
c AS MATERIALIZED (
  SELECT k.clock, c.tid FROM k CROSS JOIN LATERAL (SELECT ctid AS tid FROM rota_clocks WHERE queue = k.queue AND priority = k.priority
    OFFSET 0 FOR NO KEY UPDATE SKIP LOCKED) c),
v AS (UPDATE rota_clocks AS t SET clock = c.clock FROM c WHERE t.ctid = c.tid AND t.clock < c.clock),
i AS (
  INSERT INTO rota_clocks (queue, priority, clock) SELECT k.queue, k.priority, k.clock FROM k
  WHERE (SELECT 1 FROM rota_clocks c WHERE c.queue = k.queue AND c.priority = k.priority) IS NULL ON CONFLICT DO NOTHING)
SELECT u.n FROM u WHERE u.n IN (SELECT n FROM r)
  OR (SELECT 1 FROM rota_turns WHERE queue = u.queue AND priority = u.priority AND owner = u.owner LIMIT 1) IS NULL;

-- Rows that are to be empty, of those that nobody else holds. Whoever makes a job ready now waits, and makes them ready again.
-- name: hold_turns
SELECT t.tid::text FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::text[]) AS u(queue, priority, owner, lane)
CROSS JOIN LATERAL (SELECT ctid AS tid FROM rota_turns WHERE queue = u.queue AND priority = u.priority AND owner = u.owner AND lane = u.lane
  AND state = 'ready' OFFSET 0 FOR UPDATE SKIP LOCKED) t;

-- In a statement of its own, after `hold_turns`: it sees all that was made ready before.
-- name: empty_turns
WITH u AS MATERIALIZED (
  SELECT t.tid FROM unnest($1::text::tid[]) AS u(tid) CROSS JOIN LATERAL (
    SELECT ctid AS tid, queue, priority, owner, lane FROM rota_turns WHERE ctid = u.tid OFFSET 0) t
  WHERE (SELECT 1 FROM rota_jobs WHERE (state = 'queued' OR open) AND queue = t.queue AND lane = t.lane AND owner = t.owner
    AND priority = t.priority LIMIT 1) IS NULL)
UPDATE rota_turns AS t SET state = 'empty' FROM u WHERE t.ctid = u.tid;

-- An empty row says nothing more once the clock has passed its turn.
-- name: forget_turns
WITH u AS MATERIALIZED (
  SELECT t.* FROM (SELECT ctid AS tid, queue, priority, turn, served_at FROM rota_turns WHERE state = 'empty' ORDER BY served_at LIMIT $2
    FOR UPDATE SKIP LOCKED) t
  LEFT JOIN LATERAL (SELECT clock FROM rota_clocks WHERE queue = t.queue AND priority = t.priority OFFSET 0) c ON true
  WHERE t.served_at < $1 OR t.turn <= coalesce(c.clock, 0))
DELETE FROM rota_turns AS t USING u WHERE t.ctid = u.tid RETURNING 1;

-- The rows that there ought to be, by the ready jobs themselves, and whether they are there. What is held has none, and is passed over.
-- name: next_ready
WITH RECURSIVE w AS (
  SELECT 1 AS n, f.*, starts_with(f.lane, 'held:') AS held FROM (SELECT queue, lane, owner, priority FROM rota_jobs WHERE (state = 'queued' OR open)
    AND (queue, lane, owner, priority) > ($1, $2, $3, $4) ORDER BY queue, lane, owner, priority LIMIT 1) f
  UNION ALL
  SELECT w.n + 1, f.*, starts_with(f.lane, 'held:') FROM w CROSS JOIN LATERAL (SELECT queue, lane, owner, priority FROM rota_jobs WHERE (state = 'queued' OR open)
    AND (queue, lane, owner, priority) > (w.queue, CASE WHEN w.held THEN 'held;' ELSE w.lane END, CASE WHEN w.held THEN '' ELSE w.owner END, w.priority)
    ORDER BY queue, lane, owner, priority LIMIT 1) f
  WHERE w.n < $5)
SELECT w.n, w.queue, w.priority, w.owner, w.lane, (SELECT 1 FROM rota_turns t WHERE t.queue = w.queue AND t.priority = w.priority AND t.owner = w.owner
  AND t.lane = w.lane AND t.state <> 'empty') IS NOT NULL OR w.held FROM w;
