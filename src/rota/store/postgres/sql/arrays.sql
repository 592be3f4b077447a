-- name: insert_array
INSERT INTO rota_arrays (job, inputs, cursor, done, failed, live, parallel, halt, halted, ran_s, proven, root, base)
VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13);

-- name: get_array
SELECT inputs, cursor, done, failed, live, parallel, halt, halted, ran_s, proven, root, base, job FROM rota_arrays WHERE job = ANY($1::text[]);

-- name: put_array
UPDATE rota_arrays SET cursor = $1, done = $2, failed = $3, live = $4, halted = $5, ran_s = $6, proven = $7 WHERE job = $8;

-- queued -> running, or one more shard of what runs already
-- name: cut_array
UPDATE rota_jobs SET state = 'running', attempt = $1, started_at = coalesce(started_at, $2), timeout_s = $3,
  max_failures = coalesce(max_failures, $4) WHERE id = $5 AND (state = 'queued' OR open);

-- name: set_open
UPDATE rota_jobs SET open = $1 WHERE id = $2 AND state = 'running';

-- name: begin_upload
INSERT INTO rota_uploads (root, begun_at) VALUES ($1, $2) ON CONFLICT DO NOTHING;
-- name: end_upload
DELETE FROM rota_uploads WHERE root = $1 RETURNING 1;
-- name: old_uploads
SELECT root FROM rota_uploads WHERE begun_at < $1 LIMIT $2;

-- name: insert_inputs
INSERT INTO rota_inputs (root, first, n, body) SELECT $1, * FROM unnest($2::text::int[], $3::text::int[], $4::text::text[])
ON CONFLICT DO NOTHING;
-- name: inputs_at
SELECT first, n, body FROM rota_inputs WHERE root = $1 AND first <= $2 ORDER BY first DESC LIMIT 1;

-- name: insert_shard
INSERT INTO rota_shards (job, attempt, worker, first, n, told, failures, crashes, started_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9);
-- name: get_shard
SELECT job, attempt, worker, first, n, told, failures, crashes, started_at, lease_until FROM rota_shards WHERE job = $1 AND attempt = $2;
-- name: shards_of
SELECT job, attempt, worker, first, n, told, failures, crashes, started_at, lease_until FROM rota_shards WHERE job = $1 ORDER BY attempt;
-- name: note_told
UPDATE rota_shards SET told = $1 WHERE job = $2 AND attempt = $3;
-- name: delete_shard
DELETE FROM rota_shards WHERE job = $1 AND attempt = $2;

-- name: shards_of_worker
SELECT u.worker, s.job, s.attempt, s.lease_until, j.abort_requested_at, NULL::bigint, j.grace_s, j.handler, coalesce(j.slots, 1), 1, a.halt, a.halted
FROM unnest($1::text::text[]) AS u(worker)
CROSS JOIN LATERAL (SELECT job, attempt, lease_until FROM rota_shards WHERE worker = u.worker OFFSET 0) s
CROSS JOIN LATERAL (SELECT abort_requested_at, grace_s, handler, slots FROM rota_jobs WHERE id = s.job OFFSET 0) j
CROSS JOIN LATERAL (SELECT halt, halted FROM rota_arrays WHERE job = s.job OFFSET 0) a;
-- The names come sorted, and rows are locked in that order.
-- name: unname_shard
WITH u AS MATERIALIZED (
  SELECT u.*, s.tid FROM unnest($1::text::text[], $2::text::bigint[], $3::text::bigint[]) AS u(job, attempt, until)
  CROSS JOIN LATERAL (SELECT ctid AS tid FROM rota_shards WHERE job = u.job AND attempt = u.attempt OFFSET 0 FOR NO KEY UPDATE) s)
UPDATE rota_shards AS s SET lease_until = u.until FROM u WHERE s.ctid = u.tid;
-- name: unnamed_shards
SELECT job, attempt FROM rota_shards WHERE lease_until IS NOT NULL AND lease_until <= $1 ORDER BY lease_until LIMIT $2;
-- name: clamp_shards
WITH u AS MATERIALIZED (
  SELECT job, attempt FROM rota_shards WHERE lease_until IS NOT NULL AND lease_until > $1 ORDER BY job, attempt FOR NO KEY UPDATE)
UPDATE rota_shards AS s SET lease_until = $1 FROM u
WHERE s.job = u.job AND s.attempt = u.attempt AND s.lease_until IS NOT NULL AND s.lease_until > $1;

-- name: put_range
INSERT INTO rota_ranges AS r (job, first, n, run_at, failures, crashes, due)
SELECT $1, * FROM unnest($2::text::int[], $3::text::int[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[], $7::text::bool[])
ON CONFLICT (job, first) DO UPDATE SET n = excluded.n, run_at = excluded.run_at, failures = excluded.failures, crashes = excluded.crashes,
  due = excluded.due;
-- name: ready_ranges
SELECT first, n, run_at, failures, crashes FROM rota_ranges WHERE job = $1 AND due ORDER BY first LIMIT $2;
-- name: delete_range
DELETE FROM rota_ranges WHERE job = $1 AND first = ANY($2::int[]);
-- name: due_ranges
SELECT job, first FROM rota_ranges WHERE NOT due AND run_at <= $1 ORDER BY run_at LIMIT $2;
-- name: range_is_due
WITH u AS MATERIALIZED (
  SELECT u.*, r.tid FROM unnest($1::text::text[], $2::text::int[]) AS u(job, first)
  CROSS JOIN LATERAL (SELECT ctid AS tid, job, due, run_at FROM rota_ranges WHERE job = u.job AND first = u.first OFFSET 0) r
  WHERE r.job = u.job AND NOT r.due AND r.run_at <= $3)
UPDATE rota_ranges AS r SET due = true FROM u WHERE r.ctid = u.tid;

-- name: insert_result
INSERT INTO rota_results (job, n, state, body) SELECT $1, * FROM unnest($2::text::int[], $3::text::text[], $4::text::text[]) ON CONFLICT DO NOTHING;
-- name: results_of
SELECT body FROM rota_results WHERE job = $1 AND n > $2 ORDER BY n LIMIT $3;
-- name: good_results_of
SELECT body FROM rota_results WHERE job = $1 AND n > $2 AND state = 'succeeded' ORDER BY n LIMIT $3;
-- name: bad_results_of
SELECT body FROM rota_results WHERE job = $1 AND n > $2 AND state <> 'succeeded' ORDER BY n LIMIT $3;
-- name: successes_of
SELECT n FROM rota_results WHERE job = $1 AND n > $2 AND state = 'succeeded' ORDER BY n LIMIT $3;

-- What is to run again, by bucket: no two ranges begin in one bucket and end in another one.
-- name: spread_ranges
SELECT min(first), sum(n), due FROM rota_ranges WHERE job = $1 GROUP BY first / $2::int, (first + n - 1) / $2::int, due;
-- name: spread_bad_results
SELECT n / $2::int, state, count(*) FROM rota_results WHERE job = $1 AND state <> 'succeeded' GROUP BY 1, 2;
-- name: spread_results
SELECT n / $2::int, state, count(*) FROM rota_results WHERE job = $1 GROUP BY 1, 2;
-- name: range_at
SELECT first, n, run_at, failures, crashes FROM rota_ranges WHERE job = $1 AND first <= $2 ORDER BY first DESC LIMIT 1;

-- All arrays with these inputs, held in one order: who finds none but those that it deletes removes the inputs too.
-- name: shares_root
SELECT root, job FROM rota_arrays WHERE root = ANY($1::text[]) ORDER BY root, job FOR UPDATE;
-- Those of these arrays whose results others show.
-- name: is_base
SELECT DISTINCT base FROM rota_arrays WHERE base = ANY($1::text[]);
-- name: delete_array
DELETE FROM rota_arrays WHERE job = ANY($1::text[]);
-- name: delete_inputs
DELETE FROM rota_inputs WHERE root = ANY($1::text[]);
-- name: delete_shards
DELETE FROM rota_shards WHERE job = ANY($1::text[]);
-- name: delete_ranges
DELETE FROM rota_ranges WHERE job = ANY($1::text[]);
-- name: delete_results
WITH gone AS (DELETE FROM rota_results WHERE job = $1 AND n = ANY(ARRAY(SELECT n FROM rota_results WHERE job = $1 LIMIT $2)) RETURNING 1)
SELECT count(*) FROM gone;
