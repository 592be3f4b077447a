-- name: insert_array
INSERT INTO rota_arrays (job, inputs, cursor, done, failed, live, parallel, halt, halted, ran_s, proven, root, base)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?);

-- name: get_array
SELECT inputs, cursor, done, failed, live, parallel, halt, halted, ran_s, proven, root, base FROM rota_arrays WHERE job = ?;

-- name: put_array
UPDATE rota_arrays SET cursor = ?, done = ?, failed = ?, live = ?, halted = ?, ran_s = ?, proven = ? WHERE job = ?;

-- queued -> running, or one more shard of what runs already
-- name: cut_array
UPDATE rota_jobs SET state = 'running', attempt = ?, started_at = coalesce(started_at, ?), timeout_s = ?,
  max_failures = coalesce(max_failures, ?) WHERE id = ? AND (state = 'queued' OR open = 1);

-- name: set_open
UPDATE rota_jobs SET open = ? WHERE id = ? AND state = 'running';

-- name: begin_upload
INSERT OR IGNORE INTO rota_uploads (root, begun_at) VALUES (?, ?);
-- name: end_upload
DELETE FROM rota_uploads WHERE root = ?;
-- name: get_upload
SELECT 1 FROM rota_uploads WHERE root = ?;
-- name: old_uploads
SELECT root FROM rota_uploads WHERE begun_at < ? LIMIT ?;

-- name: insert_inputs
INSERT INTO rota_inputs (root, first, n, body) VALUES (?,?,?,?);
-- name: inputs_at
SELECT first, n, body FROM rota_inputs WHERE root = ? AND first <= ? ORDER BY first DESC LIMIT 1;

-- name: insert_shard
INSERT INTO rota_shards (job, attempt, worker, first, n, told, failures, crashes, started_at) VALUES (?,?,?,?,?,?,?,?,?);
-- name: get_shard
SELECT job, attempt, worker, first, n, told, failures, crashes, started_at, lease_until FROM rota_shards WHERE job = ? AND attempt = ?;
-- name: shards_of
SELECT job, attempt, worker, first, n, told, failures, crashes, started_at, lease_until FROM rota_shards WHERE job = ? ORDER BY attempt;
-- name: note_told
UPDATE rota_shards SET told = ? WHERE job = ? AND attempt = ?;
-- name: delete_shard
DELETE FROM rota_shards WHERE job = ? AND attempt = ?;

-- name: shards_of_worker
SELECT s.job, s.attempt, s.lease_until, j.abort_requested_at, NULL, j.grace_s, j.handler, coalesce(j.slots, 1), 1, a.halt, a.halted
FROM rota_shards s CROSS JOIN rota_jobs j ON j.id = s.job CROSS JOIN rota_arrays a ON a.job = s.job WHERE s.worker = ?;
-- name: unname_shard
UPDATE rota_shards SET lease_until = ? WHERE job = ? AND attempt = ?;
-- name: unnamed_shards
SELECT job, attempt FROM rota_shards WHERE lease_until IS NOT NULL AND lease_until <= ? ORDER BY lease_until LIMIT ?;
-- name: clamp_shards
UPDATE rota_shards SET lease_until = ? WHERE lease_until IS NOT NULL AND lease_until > ?;
-- name: next_unnamed_shard
SELECT lease_until FROM rota_shards WHERE lease_until IS NOT NULL ORDER BY lease_until LIMIT 1;

-- name: put_range
INSERT OR REPLACE INTO rota_ranges (job, first, n, run_at, failures, crashes, due) VALUES (?,?,?,?,?,?,?);
-- name: ready_ranges
SELECT first, n, run_at, failures, crashes FROM rota_ranges INDEXED BY rota_ranges_ready WHERE job = ? AND due = 1 ORDER BY first LIMIT ?;
-- name: delete_range
DELETE FROM rota_ranges WHERE job = ? AND first = ?;
-- name: due_ranges
SELECT job, first FROM rota_ranges INDEXED BY rota_ranges_due WHERE due = 0 AND run_at <= ? ORDER BY run_at LIMIT ?;
-- name: range_is_due
UPDATE rota_ranges SET due = 1 WHERE job = ? AND first = ?;
-- name: next_range
SELECT run_at FROM rota_ranges INDEXED BY rota_ranges_due WHERE due = 0 ORDER BY run_at LIMIT 1;

-- name: insert_result
INSERT OR IGNORE INTO rota_results (job, n, state, body) VALUES (?,?,?,?);
-- name: results_of
SELECT body FROM rota_results WHERE job = ? AND n > ? ORDER BY n LIMIT ?;
-- name: good_results_of
SELECT body FROM rota_results WHERE job = ? AND n > ? AND state = 'succeeded' ORDER BY n LIMIT ?;
-- name: bad_results_of
SELECT body FROM rota_results INDEXED BY rota_results_bad WHERE job = ? AND n > ? AND state <> 'succeeded' ORDER BY n LIMIT ?;
-- name: successes_of
SELECT n FROM rota_results WHERE job = ? AND n > ? AND state = 'succeeded' ORDER BY n LIMIT ?;

-- What is to run again, by bucket: no two ranges begin in one bucket and end in another one.
-- name: spread_ranges
SELECT min(first), sum(n), due FROM rota_ranges WHERE job = ? GROUP BY first / ?, (first + n - 1) / ?, due;
-- name: spread_bad_results
SELECT n / ?, state, count(*) FROM rota_results INDEXED BY rota_results_bad WHERE job = ? AND state <> 'succeeded' GROUP BY 1, 2;
-- name: spread_results
SELECT n / ?, state, count(*) FROM rota_results WHERE job = ? GROUP BY 1, 2;
-- name: range_at
SELECT first, n, run_at, failures, crashes FROM rota_ranges WHERE job = ? AND first <= ? ORDER BY first DESC LIMIT 1;

-- name: shares_root
SELECT 1 FROM rota_arrays WHERE root = ? LIMIT 1;
-- name: delete_array
DELETE FROM rota_arrays WHERE job = ?;
-- name: delete_inputs
DELETE FROM rota_inputs WHERE root = ?;
-- name: delete_shards
DELETE FROM rota_shards WHERE job = ?;
-- name: delete_ranges
DELETE FROM rota_ranges WHERE job = ?;
-- name: delete_results
DELETE FROM rota_results WHERE job = ? AND n IN (SELECT n FROM rota_results WHERE job = ? LIMIT ?);
