-- name: add_run_count
INSERT INTO rota_run_counts (run, state, n) VALUES (?, ?, ?) ON CONFLICT (run, state) DO UPDATE SET n = n + excluded.n;

-- name: start_run
UPDATE rota_runs SET started_at = ? WHERE id = ? AND started_at IS NULL;

-- name: insert_run
INSERT INTO rota_runs (id, state, name, owner, labels, hook, jobs, submitted_at, retry_of, looked_at) VALUES (?,?,?,?,?,?,?,?,?,?);

-- name: get_run
SELECT id, state, name, owner, labels, hook, jobs, submitted_at, started_at, finished_at, abort_requested_at, stopping, retry_of
FROM rota_runs WHERE id = ?;

-- name: run_counts
SELECT run, state, n FROM rota_run_counts WHERE run = ?;

-- name: stop_run
UPDATE rota_runs SET abort_requested_at = coalesce(abort_requested_at, ?), stopping = 1 WHERE id = ? AND finished_at IS NULL;
-- name: run_stopped
UPDATE rota_runs SET stopping = 0 WHERE id = ?;

-- name: end_run
UPDATE rota_runs SET state = ?, finished_at = ?, stopping = 0 WHERE id = ? AND finished_at IS NULL;

-- Runs that are not over, those that were looked at the longest ago first.
-- name: open_runs
SELECT id FROM rota_runs INDEXED BY rota_runs_open WHERE finished_at IS NULL AND looked_at < ? ORDER BY looked_at LIMIT ?;
-- name: run_seen
UPDATE rota_runs SET looked_at = ? WHERE id = ? AND finished_at IS NULL;

-- name: find_runs
SELECT id, state, owner, name FROM rota_runs WHERE id < ? ORDER BY id DESC LIMIT ?;
-- name: find_runs_by_owner
SELECT id, state, owner, name FROM rota_runs WHERE owner = ? AND id < ? ORDER BY id DESC LIMIT ?;
-- name: find_runs_by_name
SELECT id, state, owner, name FROM rota_runs WHERE name = ? AND id < ? ORDER BY id DESC LIMIT ?;
-- name: find_runs_by_state
SELECT id, state, owner, name FROM rota_runs WHERE state = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- name: jobs_of_run
SELECT id FROM rota_jobs WHERE run = ? AND id > ? ORDER BY id LIMIT ?;
-- name: newest_of_run
SELECT id FROM rota_jobs WHERE run = ? AND id < ? ORDER BY id DESC LIMIT ?;

-- name: nodes
SELECT id, ref, run, state, handler, kind, attempt, submitted_at, started_at, finished_at, inputs, owner FROM rota_jobs WHERE id = ?;
-- What these jobs (a JSON list) wait for.
-- name: edges_into
SELECT after, job, condition FROM rota_dependencies WHERE job IN (SELECT value FROM json_each(?));

-- What waits, or has waited, for these jobs.
-- name: edges_from
SELECT after, job, condition FROM rota_dependencies WHERE after IN (SELECT value FROM json_each(?)) LIMIT ?;

-- name: old_runs
SELECT id FROM rota_runs WHERE finished_at IS NOT NULL AND finished_at < ? ORDER BY finished_at LIMIT ?;
-- name: delete_run
DELETE FROM rota_runs WHERE id = ?;
-- name: delete_run_counts
DELETE FROM rota_run_counts WHERE run = ?;
