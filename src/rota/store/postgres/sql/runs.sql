-- name: add_run_count
INSERT INTO rota_run_counts AS c (run, state, part, n)
SELECT u.run, u.state, pg_backend_pid() % 16, u.n FROM unnest($1::text::text[], $2::text::text[], $3::text::bigint[]) AS u(run, state, n)
ON CONFLICT (run, state, part) DO UPDATE SET n = c.n + excluded.n;

-- name: start_run
UPDATE rota_runs SET started_at = $1 WHERE id = ANY($2::text::text[]) AND started_at IS NULL;

-- name: insert_run
INSERT INTO rota_runs (id, state, name, owner, labels, hook, jobs, submitted_at, retry_of, looked_at)
VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10);

-- name: get_run
SELECT r.* FROM unnest($1::text::text[]) AS u(run) CROSS JOIN LATERAL (
  SELECT id, state, name, owner, labels, hook, jobs, submitted_at, started_at, finished_at, abort_requested_at, stopping, retry_of
  FROM rota_runs WHERE id = u.run OFFSET 0) r;

-- The ids come sorted, and rows are locked in that order. Whoever waits for a run holds no job.
-- name: lock_run
SELECT r.* FROM unnest($1::text::text[]) AS u(run) CROSS JOIN LATERAL (
  SELECT id, state, name, owner, labels, hook, jobs, submitted_at, started_at, finished_at, abort_requested_at, stopping, retry_of
  FROM rota_runs WHERE id = u.run OFFSET 0 FOR NO KEY UPDATE) r;

-- name: run_counts
SELECT c.* FROM unnest($1::text::text[]) AS u(run) CROSS JOIN LATERAL (
  SELECT run, state, n FROM rota_run_counts WHERE run = u.run OFFSET 0) c;

-- name: stop_run
UPDATE rota_runs SET abort_requested_at = coalesce(abort_requested_at, $1), stopping = true WHERE id = $2 AND finished_at IS NULL;
-- name: run_stopped
UPDATE rota_runs SET stopping = false WHERE id = $1;

-- name: end_run
UPDATE rota_runs SET state = $1, finished_at = $2, stopping = false WHERE id = $3 AND finished_at IS NULL;

-- Runs that are not over, those that were looked at the longest ago first.
-- name: open_runs
SELECT id FROM rota_runs WHERE finished_at IS NULL AND looked_at < $1 ORDER BY looked_at LIMIT $2;
-- name: run_seen
UPDATE rota_runs SET looked_at = $1 WHERE id = ANY($2::text::text[]) AND finished_at IS NULL;

-- name: find_runs
SELECT id, state, owner, name FROM rota_runs WHERE id < $1 ORDER BY id DESC LIMIT $2;
-- name: find_runs_by_owner
SELECT id, state, owner, name FROM rota_runs WHERE owner = $1 AND id < $2 ORDER BY id DESC LIMIT $3;
-- name: find_runs_by_name
SELECT id, state, owner, name FROM rota_runs WHERE name = $1 AND id < $2 ORDER BY id DESC LIMIT $3;
-- name: find_runs_by_state
SELECT id, state, owner, name FROM rota_runs WHERE state = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: jobs_of_run
SELECT id FROM rota_listed WHERE run = $1 AND id > $2 ORDER BY id LIMIT $3;
-- name: newest_of_run
SELECT id FROM rota_listed WHERE run = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: nodes
SELECT j.* FROM unnest($1::text::text[]) AS u(job) CROSS JOIN LATERAL (
  SELECT id, ref, run, state, handler, kind, attempt, submitted_at, started_at, finished_at, inputs, owner FROM rota_jobs WHERE id = u.job OFFSET 0) j;
-- What these jobs wait for.
-- name: edges_into
SELECT d.* FROM unnest($1::text::text[]) AS u(job) CROSS JOIN LATERAL (
  SELECT after, job, condition FROM rota_dependencies WHERE job = u.job OFFSET 0) d;

-- What waits, or has waited, for these jobs.
-- name: edges_from
SELECT d.* FROM unnest($1::text::text[]) AS u(after) CROSS JOIN LATERAL (
  SELECT after, job, condition FROM rota_dependencies WHERE after = u.after LIMIT $2) d LIMIT $2;

-- name: old_runs
SELECT id FROM rota_runs WHERE finished_at IS NOT NULL AND finished_at < $1 ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED;
-- name: delete_run
DELETE FROM rota_runs WHERE id = ANY($1::text::text[]);
-- name: delete_run_counts
DELETE FROM rota_run_counts WHERE run = ANY($1::text::text[]);
