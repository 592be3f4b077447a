-- name: insert_attempt
INSERT INTO rota_attempts (job, attempt, worker, started_at, finished_at, outcome, exit_code, error, proof, first, inputs)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::bigint[], $8::text[], $9::text[],
  $10::int[], $11::int[]);

-- name: attempts_of
SELECT attempt, worker, started_at, finished_at, outcome, exit_code, error, proof, first, inputs FROM rota_attempts WHERE job = $1 ORDER BY attempt;

-- Numbers for events, and our transaction's id, which is given before them: statement.py tells why.
-- name: number_events
SELECT t.xid::text, array_agg(s.seq) FROM (SELECT pg_current_xact_id() AS xid OFFSET 0) t
CROSS JOIN LATERAL (SELECT nextval('rota_events_seq') AS seq FROM generate_series(1, $1::int) WHERE t.xid IS NOT NULL) s GROUP BY 1;

-- name: append_events
INSERT INTO rota_events (seq, at, job, owner, kind, state, attempt, by, why, horizon)
SELECT u.seq, $2, u.job, u.owner, u.kind, u.state, u.attempt, u.by, u.why, $10
FROM unnest($1::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::text[], $9::text[])
  AS u(seq, job, owner, kind, state, attempt, by, why);

-- name: events_of
SELECT seq, at, job, owner, kind, state, attempt, by, why FROM rota_events WHERE job = $1 AND seq > $2 ORDER BY seq LIMIT $3;

-- Events that are there, and whether all that come before each of them are: no transaction up to its horizon is in
-- flight. (A horizon that lies ahead of us is from before a restore into a new cluster.)
-- name: events_after
SELECT seq, at, job, owner, kind, state, attempt, by, why, horizon < s.xmin OR horizon > s.xmax
FROM rota_events CROSS JOIN (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS xmin,
  pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS xmax) s
WHERE seq > $1 ORDER BY seq LIMIT $2;

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
INSERT INTO rota_counts AS c (queue, lane, state, part, n)
SELECT u.queue, u.lane, u.state, pg_backend_pid() % 16, u.n FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[]) AS u(queue, lane, state, n)
ON CONFLICT (state, queue, lane, part) DO UPDATE SET n = c.n + excluded.n
RETURNING c.xmin::text::bigint;

-- `open`: arrays that run and may be cut; they are counted as running too. `timed_out`: pulled tasks that failed so.
-- name: counts
SELECT queue, lane, CASE state WHEN 'timed_out' THEN 'failed' ELSE state END, sum(n)::bigint FROM rota_counts WHERE state NOT IN ('open', 'none')
GROUP BY 1, 2, 3 HAVING sum(n) > 0;

-- name: timed_out_tasks
SELECT coalesce(sum(n), 0)::bigint FROM rota_counts WHERE state = 'timed_out';

-- name: ready_lanes
SELECT queue, lane FROM rota_counts WHERE state IN ('queued', 'open') GROUP BY queue, lane HAVING sum(n) > 0;

-- name: append_log
INSERT INTO rota_logs (job, attempt, n, stream, at, text)
SELECT u.job, u.attempt, u.n, u.stream, $1, u.text FROM unnest($2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[])
  AS u(job, attempt, n, stream, text)
ON CONFLICT DO NOTHING;

-- name: logs_of
SELECT attempt, n, stream, at, text FROM rota_logs WHERE job = $1 AND (attempt, n) > ($2::bigint, $3::bigint) ORDER BY attempt, n LIMIT $4;

-- name: logs_of_attempt
SELECT attempt, n, stream, at, text FROM rota_logs WHERE job = $1 AND attempt = $2 AND n > $3 ORDER BY n LIMIT $4;
