-- name: insert_attempt
INSERT INTO rota_attempts (job, attempt, worker, started_at, finished_at, outcome, exit_code, error, proof, first, inputs) VALUES (?,?,?,?,?,?,?,?,?,?,?);

-- name: attempts_of
SELECT attempt, worker, started_at, finished_at, outcome, exit_code, error, proof, first, inputs FROM rota_attempts WHERE job = ? ORDER BY attempt;

-- Shards that had an input.
-- name: attempts_at
SELECT attempt, worker, started_at, finished_at, outcome, exit_code, error, proof, first, inputs FROM rota_attempts
WHERE job = ? AND first <= ? AND first + inputs > ? ORDER BY attempt DESC LIMIT ?;

-- Given to whichever event came last, also if it was deleted (or was copied from a store that counts in thousands).
-- name: number_events
SELECT max(coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'rota_events'), 0), coalesce((SELECT max(seq) FROM rota_events), 0));

-- name: append_events
INSERT INTO rota_events (seq, at, job, owner, kind, state, attempt, by, why, others) VALUES (?,?,?,?,?,?,?,?,?,?);

-- name: events_of
SELECT seq, at, job, owner, kind, state, attempt, by, why, others FROM rota_events WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?;

-- Rows of several events that a job may be among: of the moments at which something of that kind happened to it.
-- name: shared_events_of
SELECT seq, at, job, owner, kind, state, attempt, by, why, others FROM rota_events INDEXED BY rota_events_shared
WHERE others IS NOT NULL AND instr(others, :job) > 0 AND at IN (
  SELECT submitted_at FROM rota_jobs WHERE id = :job UNION SELECT started_at FROM rota_jobs WHERE id = :job
  UNION SELECT finished_at FROM rota_jobs WHERE id = :job
  UNION SELECT started_at FROM rota_attempts WHERE job = :job AND first IS NULL);

-- name: events_after
SELECT seq, at, job, owner, kind, state, attempt, by, why, others FROM rota_events WHERE seq > ? ORDER BY seq;

-- name: event_from
SELECT seq, job, others FROM rota_events WHERE seq >= ? ORDER BY seq LIMIT 1;

-- name: rows_shared_by
SELECT seq, job, others FROM rota_events INDEXED BY rota_events_shared WHERE others IS NOT NULL AND at IN (
  SELECT submitted_at FROM rota_jobs WHERE id IN (SELECT value FROM json_each(:jobs))
  UNION SELECT started_at FROM rota_jobs WHERE id IN (SELECT value FROM json_each(:jobs))
  UNION SELECT finished_at FROM rota_jobs WHERE id IN (SELECT value FROM json_each(:jobs))
  UNION SELECT started_at FROM rota_attempts WHERE job IN (SELECT value FROM json_each(:jobs)) AND first IS NULL);

-- name: trim_events
UPDATE rota_events SET job = ?2, others = ?3 WHERE seq = ?1;

-- name: drop_events
DELETE FROM rota_events WHERE seq = ?;

-- name: last_event
SELECT coalesce(max(seq), 0) FROM rota_events;

-- name: add_count
INSERT INTO rota_counts (queue, lane, state, n) VALUES (:queue, :lane, :state, max(0, :n))
ON CONFLICT (state, queue, lane) DO UPDATE SET n = n + :n;

-- `open`: arrays that run and may be cut; they are counted as running too. `timed_out`: pulled tasks that failed so.
-- name: counts
SELECT queue, lane, CASE state WHEN 'timed_out' THEN 'failed' ELSE state END, sum(n) FROM rota_counts WHERE n > 0 AND state <> 'open'
GROUP BY 1, 2, 3;

-- name: timed_out_tasks
SELECT coalesce(sum(n), 0) FROM rota_counts WHERE state = 'timed_out';

-- Those of queues that are not paused.
-- name: ready_lanes
SELECT DISTINCT queue, lane FROM rota_counts WHERE state IN ('queued', 'open') AND n > 0
  AND queue NOT IN (SELECT queue FROM rota_queues WHERE paused_at IS NOT NULL);

-- name: append_log
INSERT OR IGNORE INTO rota_logs (job, attempt, n, stream, at, text) VALUES (?,?,?,?,?,?);

-- name: logs_of
SELECT attempt, n, stream, at, text FROM rota_logs WHERE job = ? AND (attempt, n) > (?, ?) ORDER BY attempt, n LIMIT ?;

-- name: logs_of_attempt
SELECT attempt, n, stream, at, text FROM rota_logs WHERE job = ? AND attempt = ? AND n > ? ORDER BY n LIMIT ?;
