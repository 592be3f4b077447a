-- name: insert_attempt
INSERT INTO rota_attempts (job, attempt, worker, started_at, finished_at, outcome, exit_code, error, proof) VALUES (?,?,?,?,?,?,?,?,?);

-- name: attempts_of
SELECT attempt, worker, started_at, finished_at, outcome, exit_code, error, proof FROM rota_attempts WHERE job = ? ORDER BY attempt;

-- name: append_events
INSERT INTO rota_events (at, job, owner, kind, state, attempt, by, why) VALUES (?,?,?,?,?,?,?,?);

-- name: events_of
SELECT seq, at, job, owner, kind, state, attempt, by, why FROM rota_events WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?;

-- name: events_after
SELECT seq, at, job, owner, kind, state, attempt, by, why FROM rota_events WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: last_event
SELECT coalesce(max(seq), 0) FROM rota_events;

-- name: add_count
INSERT INTO rota_counts (queue, lane, state, n) VALUES (:queue, :lane, :state, max(0, :n))
ON CONFLICT (state, queue, lane) DO UPDATE SET n = n + :n;

-- name: counts
SELECT queue, lane, state, n FROM rota_counts WHERE n > 0;

-- name: ready_lanes
SELECT queue, lane FROM rota_counts WHERE state = 'queued' AND n > 0;

-- name: append_log
INSERT OR IGNORE INTO rota_logs (job, attempt, n, stream, at, text) VALUES (?,?,?,?,?,?);

-- name: logs_of
SELECT attempt, n, stream, at, text FROM rota_logs WHERE job = ? AND (attempt, n) > (?, ?) ORDER BY attempt, n LIMIT ?;

-- name: logs_of_attempt
SELECT attempt, n, stream, at, text FROM rota_logs WHERE job = ? AND attempt = ? AND n > ? ORDER BY n LIMIT ?;
