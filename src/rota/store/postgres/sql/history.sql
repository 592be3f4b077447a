-- name: insert_attempt
INSERT INTO rota_attempts (job, attempt, worker, started_at, finished_at, outcome, exit_code, error, proof, first, inputs)
SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::bigint[], $5::text::bigint[], $6::text::text[], $7::text::bigint[], $8::text::text[], $9::text::text[],
  $10::text::int[], $11::text::int[]);

-- name: attempts_of
SELECT attempt, worker, started_at, finished_at, outcome, exit_code, error, proof, first, inputs FROM rota_attempts WHERE job = $1 ORDER BY attempt;

-- Shards that had an input.
-- name: attempts_at
SELECT attempt, worker, started_at, finished_at, outcome, exit_code, error, proof, first, inputs FROM rota_attempts
WHERE job = $1 AND first <= $2 AND first + inputs > $2 ORDER BY attempt DESC LIMIT $3;

-- Our transaction's id, then a number for a thousand events: in this order.
-- name: number_events
WITH t AS MATERIALIZED (SELECT pg_current_xact_id()::text AS id) SELECT id, nextval('rota_events_seq') * 1000 FROM t;

-- What is kept for owners that have quotas comes after all counters, so that any two transactions write in the same order.
-- Counters and events in one: the new id, under which the counters are written, is the events' horizon. Ids are 64 bits wide, of which
-- a row has 32; our transaction's own was given a little before. The sequence has just given us a number for a thousand events.
-- name: append_events
WITH c AS (
  INSERT INTO rota_counts AS c (queue, lane, state, part, n)
  SELECT u.queue, u.lane, u.state, pg_backend_pid() % 16, u.n
  FROM unnest($2::text::text[], $3::text::text[], $4::text::text[], $5::text::bigint[]) AS u(queue, lane, state, n)
  ON CONFLICT (state, queue, lane, part) DO UPDATE SET n = c.n + excluded.n
  RETURNING c.xmin::text::bigint AS low),
t AS (SELECT pg_current_xact_id()::text::bigint AS id, currval('rota_events_seq') * 1000 AS first OFFSET 0),
q AS (
  INSERT INTO rota_kept AS k (owner, part, waiting, size)
  SELECT u.owner, pg_backend_pid() % 16, u.waiting, u.size
  FROM (SELECT count(*) FROM c) AS counted CROSS JOIN unnest($15::text::text[], $16::text::bigint[], $17::text::bigint[]) AS u(owner, waiting, size)
  WHERE (SELECT 1 FROM rota_owners WHERE owner = u.owner AND (max_waiting IS NOT NULL OR max_bytes IS NOT NULL)) IS NOT NULL
  ON CONFLICT (owner, part) DO UPDATE SET waiting = k.waiting + excluded.waiting, size = k.size + excluded.size),
h AS (SELECT t.first, (t.id >> 32 << 32) + low + CASE WHEN low < (t.id & 4294967295) THEN 4294967296 ELSE 0 END AS horizon
  FROM t CROSS JOIN c LIMIT 1)
INSERT INTO rota_events (seq, at, job, owner, kind, state, attempt, by, why, others, horizon)
SELECT h.first + u.upto - 1, $1, u.job, u.owner, u.kind, u.state, u.attempt, u.by, u.why, u.others, h.horizon
FROM h CROSS JOIN unnest($6::text::bigint[], $7::text::text[], $8::text::text[], $9::text::text[], $10::text::text[], $11::text::bigint[],
  $12::text::text[], $13::text::text[], $14::text::text[]) AS u(upto, job, owner, kind, state, attempt, by, why, others);

-- name: events_of
SELECT seq, at, job, owner, kind, state, attempt, by, why, others FROM rota_events WHERE job = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- Rows of several events that a job may be among: of the moments at which something of that kind happened to it.
-- name: shared_events_of
SELECT seq, at, job, owner, kind, state, attempt, by, why, others FROM rota_events
WHERE others IS NOT NULL AND strpos(others, $1) > 0 AND at = ANY(ARRAY(
  SELECT unnest(ARRAY[submitted_at, started_at, finished_at]) FROM rota_jobs WHERE id = $1
  UNION ALL SELECT started_at FROM rota_attempts WHERE job = $1 AND first IS NULL));

-- Events that are there, and whether all that come before each of them are: no transaction up to its horizon is in
-- flight. (A horizon that lies ahead of us is from before a restore into a new cluster.)
-- Rows after those that have as many events as are asked for are left out: by the length of what they share (an id is 36 letters long).
-- name: events_after
SELECT seq, at, job, owner, kind, state, attempt, by, why, others, horizon < s.xmin OR horizon > s.xmax
FROM (SELECT *, sum(coalesce(octet_length(others), 0) / 37 + 1) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - coalesce(octet_length(others), 0) / 37 - 1 AS before
  FROM rota_events WHERE seq > $1 ORDER BY seq LIMIT $2) e
CROSS JOIN (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
  pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax) s
WHERE before < $2 ORDER BY seq;

-- name: event_from
SELECT seq, job, others FROM rota_events WHERE seq >= $1 ORDER BY seq LIMIT 1;

-- Held, in order: what is left of them is written by who read it.
-- name: rows_shared_by
SELECT seq, job, others FROM rota_events WHERE seq = ANY(ARRAY(
  SELECT seq FROM rota_events WHERE others IS NOT NULL AND at = ANY(ARRAY(
    SELECT unnest(ARRAY[submitted_at, started_at, finished_at]) FROM rota_jobs WHERE id = ANY($1::text[])
    UNION ALL SELECT started_at FROM rota_attempts WHERE job = ANY($1::text[]) AND first IS NULL))))
ORDER BY seq FOR UPDATE;

-- name: trim_events
UPDATE rota_events e SET job = u.job, others = u.others
FROM unnest($1::text::bigint[], $2::text::text[], $3::text::text[]) AS u(seq, job, others) WHERE e.seq = u.seq;

-- name: drop_events
DELETE FROM rota_events WHERE seq = ANY($1::text::bigint[]);

-- name: last_event
SELECT seq FROM rota_events CROSS JOIN (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
  pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax) s
WHERE horizon < s.xmin OR horizon > s.xmax ORDER BY seq DESC LIMIT 1;

-- Whether a transaction whose answer was lost was committed: its last event is there.
-- name: has_event
SELECT 1 FROM rota_events WHERE seq = $1 AND job = $2 AND at = $3;

-- name: transaction_status
SELECT pg_xact_status($1::text::xid8);

-- name: add_count
WITH c AS (
  INSERT INTO rota_counts AS c (queue, lane, state, part, n)
  SELECT u.queue, u.lane, u.state, pg_backend_pid() % 16, u.n
  FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::bigint[]) AS u(queue, lane, state, n)
  ON CONFLICT (state, queue, lane, part) DO UPDATE SET n = c.n + excluded.n
  RETURNING 1)
INSERT INTO rota_kept AS k (owner, part, waiting, size)
SELECT u.owner, pg_backend_pid() % 16, u.waiting, u.size
FROM (SELECT count(*) FROM c) AS counted CROSS JOIN unnest($5::text::text[], $6::text::bigint[], $7::text::bigint[]) AS u(owner, waiting, size)
WHERE (SELECT 1 FROM rota_owners WHERE owner = u.owner AND (max_waiting IS NOT NULL OR max_bytes IS NOT NULL)) IS NOT NULL
ON CONFLICT (owner, part) DO UPDATE SET waiting = k.waiting + excluded.waiting, size = k.size + excluded.size;

-- `open`: arrays that run and may be cut; they are counted as running too. `timed_out`: pulled tasks that failed so.
-- name: counts
SELECT queue, lane, CASE state WHEN 'timed_out' THEN 'failed' ELSE state END, sum(n)::bigint FROM rota_counts WHERE state NOT IN ('open', 'none')
GROUP BY 1, 2, 3 HAVING sum(n) > 0;

-- name: timed_out_tasks
SELECT coalesce(sum(n), 0)::bigint FROM rota_counts WHERE state = 'timed_out';

-- Those of queues that are not paused.
-- name: ready_lanes
SELECT queue, lane FROM rota_counts WHERE state IN ('queued', 'open') AND queue <> ALL (ARRAY(SELECT queue FROM rota_queues WHERE paused_at IS NOT NULL))
GROUP BY queue, lane HAVING sum(n) > 0;

-- name: append_log
INSERT INTO rota_logs (job, attempt, n, stream, at, text)
SELECT u.job, u.attempt, u.n, u.stream, $1, u.text FROM unnest($2::text::text[], $3::text::bigint[], $4::text::bigint[], $5::text::text[], $6::text::bytea[])
  AS u(job, attempt, n, stream, text)
ON CONFLICT DO NOTHING;

-- name: logs_of
SELECT attempt, n, stream, at, text FROM rota_logs WHERE job = $1 AND (attempt, n) > ($2::bigint, $3::bigint) ORDER BY attempt, n LIMIT $4;

-- name: logs_of_attempt
SELECT attempt, n, stream, at, text FROM rota_logs WHERE job = $1 AND attempt = $2 AND n > $3 ORDER BY n LIMIT $4;
