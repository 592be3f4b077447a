-- INDEXED BY: the planner would else take jobs_state for every partial index, and sort; a test holds all plans.

-- name: insert_jobs
INSERT INTO rota_jobs (id, state, kind, lane, handler, script, data, args, variables, owner, queue, priority, labels, waiting_for, run_at,
  submitted_at, max_failures, timeout_s, grace_s, backoff, hook, retry_of, finished_at, error, reason, image, options, api, inputs, traceparent,
  run, ref, least, spare, map, refers, unique_key, needs, size, limit_key, slots)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?);

-- name: insert_labels
INSERT INTO rota_labels (name, value, job) VALUES (?, ?, ?);

-- name: insert_dependencies
INSERT INTO rota_dependencies (after, job, position, condition, told, met, refers) VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: get_job
SELECT id, state, kind, handler, script, data, args, variables, owner, queue, priority, labels, waiting_for, run_at, submitted_at,
  started_at, finished_at, attempt, failures, crashes, max_failures, timeout_s, grace_s, backoff, worker, deadline_at, progress,
  result, error, reason, abort_requested_at, confirmed, hook, retry_of, image, options, api, inputs, open, traceparent,
  run, ref, least, spare, map, refers, unique_key, needs, size, limit_key, slots
FROM rota_jobs WHERE id = ?;

-- What decides: no payload.
-- name: lock_job
SELECT id, state, kind, handler, owner, queue, priority, waiting_for, run_at, submitted_at, started_at, attempt, failures, crashes,
  max_failures, timeout_s, grace_s, backoff, worker, deadline_at, error, abort_requested_at, hook, api, inputs, open, run, spare, map, needs, size, limit_key, lane, slots
FROM rota_jobs WHERE id = ?;

-- name: result_of
SELECT state, result, inputs, map IS NOT NULL FROM rota_jobs WHERE id = ?;

-- name: become_array
UPDATE rota_jobs SET inputs = ?, size = ? WHERE id = ?;

-- name: after_of
SELECT after, condition FROM rota_dependencies WHERE job = ? ORDER BY position;

-- What a worker needs of a job that it is about to get. (As one statement with RETURNING, a claim costs a third more.)
-- name: offer_job
SELECT attempt, kind, handler, script, data, args, variables, owner, timeout_s, grace_s, hook, queue, lane, run_at, image, options, submitted_at, traceparent,
  run, refers, size, limit_key
FROM rota_jobs WHERE id = ? AND (state = 'queued' OR open = 1);

-- The same, of several, in their order: each statement hands the work from one thread to the other.
-- name: offer_jobs
SELECT j.id, attempt, kind, handler, script, data, args, variables, owner, timeout_s, grace_s, hook, queue, lane, run_at, image, options, submitted_at,
  traceparent, run, refers, size, limit_key
FROM json_each(?) CROSS JOIN rota_jobs j ON j.id = json_each.value WHERE state = 'queued' OR open = 1;

-- queued -> running
-- name: claim_job
UPDATE rota_jobs SET state = 'running', attempt = ?, worker = ?, started_at = ?, progress = NULL, error = NULL,
  timeout_s = ?, max_failures = coalesce(max_failures, ?), deadline_at = ?
WHERE id = ? AND state = 'queued';

-- running -> whatever was settled; a row that moved on meanwhile is left alone
-- name: settle_job
UPDATE rota_jobs SET state = ?, run_at = ?, failures = ?, crashes = ?, finished_at = ?, result = ?, error = ?, reason = ?, confirmed = ?,
  worker = CASE WHEN ? THEN worker END, deadline_at = NULL, lease_until = NULL
WHERE id = ? AND attempt = ? AND state = 'running';

-- running -> succeeded, unless something came between since it was claimed
-- name: settle_known
UPDATE rota_jobs SET state = 'succeeded', finished_at = ?, result = ?, error = NULL, reason = NULL, confirmed = NULL,
  deadline_at = NULL, lease_until = NULL
WHERE id = ? AND attempt = ? AND worker = ? AND state = 'running' AND abort_requested_at IS NULL;

-- blocked | scheduled | queued -> whatever was settled
-- name: move_job
UPDATE rota_jobs SET state = ?, run_at = ?, waiting_for = ?, finished_at = ?, error = ?, reason = ?
WHERE id = ? AND state = ?;

-- name: request_abort
UPDATE rota_jobs SET abort_requested_at = ? WHERE id = ? AND state = 'running' AND abort_requested_at IS NULL;

-- name: edit_job
UPDATE rota_jobs SET priority = ?, run_at = ?, queue = ?, state = ? WHERE id = ? AND state = ?;

-- name: set_waits
UPDATE rota_jobs SET waiting_for = ?, spare = ? WHERE id = ? AND state = 'blocked';

-- name: due_jobs
SELECT id FROM rota_jobs INDEXED BY rota_jobs_due WHERE state = 'scheduled' AND run_at <= ? ORDER BY run_at, id LIMIT ?;

-- name: next_due
SELECT run_at FROM rota_jobs INDEXED BY rota_jobs_due WHERE state = 'scheduled' ORDER BY run_at LIMIT 1;

-- name: overdue_jobs
SELECT id, attempt, worker, deadline_at, grace_s, kind FROM rota_jobs INDEXED BY rota_jobs_deadline WHERE state = 'running' AND deadline_at IS NOT NULL AND deadline_at <= ?
ORDER BY deadline_at LIMIT ?;

-- name: next_deadline
SELECT deadline_at FROM rota_jobs INDEXED BY rota_jobs_deadline WHERE state = 'running' AND deadline_at IS NOT NULL ORDER BY deadline_at LIMIT 1;

-- name: running_of
SELECT id, attempt, lease_until, abort_requested_at, deadline_at, grace_s, handler, coalesce(slots, 1) FROM rota_jobs INDEXED BY rota_jobs_running WHERE state = 'running' AND worker = ?;

-- name: unname_lease
UPDATE rota_jobs SET lease_until = ? WHERE id = ? AND attempt = ? AND state = 'running';

-- name: unnamed_leases
SELECT id FROM rota_jobs WHERE lease_until IS NOT NULL AND lease_until <= ? ORDER BY lease_until LIMIT ?;

-- name: clamp_unnamed
UPDATE rota_jobs SET lease_until = ? WHERE lease_until IS NOT NULL AND lease_until > ?;

-- name: next_unnamed
SELECT lease_until FROM rota_jobs WHERE lease_until IS NOT NULL ORDER BY lease_until LIMIT 1;

-- name: set_progress
UPDATE rota_jobs SET progress = ? WHERE id = ? AND attempt = ? AND state = 'running' AND worker = ?;

-- name: holds
SELECT 1 FROM rota_jobs WHERE id = ? AND attempt = ? AND state = 'running' AND worker = ?;

-- What waits for these jobs (a JSON list), and has not been told of their end.
-- name: dependents_of
SELECT after, job, condition FROM rota_dependencies WHERE after IN (SELECT value FROM json_each(?)) AND met = 0 AND told IS NULL;

-- name: tell
UPDATE rota_dependencies SET told = ?, met = ? WHERE after = ? AND job = ?;

-- What these jobs (a JSON list) have been told, and nobody has counted.
-- name: told_of
SELECT d.after, d.job, d.condition, d.told FROM json_each(?) CROSS JOIN rota_dependencies d INDEXED BY rota_dependencies_told
ON d.job = json_each.value WHERE d.told IS NOT NULL AND d.met = 0;

-- name: told_jobs
SELECT DISTINCT job FROM rota_dependencies INDEXED BY rota_dependencies_told WHERE told IS NOT NULL AND met = 0 LIMIT ?;

-- name: unmet_of
SELECT after, condition FROM rota_dependencies WHERE job = ? AND met = 0 LIMIT ?;

-- An array whose results another one shows stays as long as that one; a result that is referred to as long as whoever does.
-- name: over_before
SELECT id, queue, lane, CASE WHEN kind = 'pull' AND reason = 'timed_out' THEN reason ELSE state END FROM rota_jobs WHERE finished_at IS NOT NULL AND finished_at < ? AND (inputs IS NULL
  OR NOT EXISTS (SELECT 1 FROM rota_arrays WHERE base = id))
  AND NOT EXISTS (SELECT 1 FROM rota_dependencies d INDEXED BY rota_dependencies_refers CROSS JOIN rota_jobs c ON c.id = d.job
    WHERE d.after = rota_jobs.id AND d.refers = 1 AND c.finished_at IS NULL)
ORDER BY finished_at LIMIT ?;

-- What these workers run: jobs, and shards of arrays.
-- name: held_lanes
SELECT lane FROM rota_jobs INDEXED BY rota_jobs_running WHERE state = 'running' AND worker IN (SELECT value FROM json_each(:workers))
UNION ALL SELECT j.lane FROM rota_shards s CROSS JOIN rota_jobs j WHERE s.worker IN (SELECT value FROM json_each(:workers)) AND j.id = s.job;

-- How long the jobs ran that were over last; those that never ran say nothing.
-- name: recent_runs
SELECT owner, priority, lane, started_at, finished_at FROM rota_jobs INDEXED BY rota_jobs_over WHERE finished_at IS NOT NULL
ORDER BY finished_at DESC LIMIT ?;

-- name: delete_job
DELETE FROM rota_jobs WHERE id = ?;
-- name: delete_labels
DELETE FROM rota_labels WHERE job = ?;
-- name: delete_dependencies
DELETE FROM rota_dependencies WHERE job = ?;
-- name: delete_dependents
DELETE FROM rota_dependencies WHERE after = ?;
-- name: delete_attempts
DELETE FROM rota_attempts WHERE job = ?;
-- name: delete_events
DELETE FROM rota_events WHERE job = ? AND others IS NULL;
-- name: delete_logs
DELETE FROM rota_logs WHERE job = ?;
-- name: delete_deliveries
DELETE FROM rota_deliveries WHERE job = ?;

-- name: find_by_api
SELECT id, state, owner, queue, handler, api FROM rota_jobs INDEXED BY rota_jobs_api WHERE api = ? AND state = ? AND id >= ? AND id < ? ORDER BY id DESC;
-- name: find_by_api_owner
SELECT id, state, owner, queue, handler, api FROM rota_jobs INDEXED BY rota_jobs_api_owner WHERE api = ? AND owner = ? AND id >= ? AND id < ? ORDER BY id DESC;

-- A listing walks one of these, newest first, and checks the other filters on the way.
-- name: find_all
SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE id >= ? AND id < ? ORDER BY id DESC;
-- name: find_by_owner
SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE owner = ? AND id >= ? AND id < ? ORDER BY id DESC;
-- name: find_by_state
SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE state = ? AND id >= ? AND id < ? ORDER BY id DESC;
-- name: find_by_handler
SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE handler = ? AND id >= ? AND id < ? ORDER BY id DESC;
-- name: find_by_queue
SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE queue = ? AND id >= ? AND id < ? ORDER BY id DESC;
-- name: find_by_run
SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE run = ? AND id >= ? AND id < ? ORDER BY id DESC;
-- name: find_by_label
SELECT j.id, j.state, j.owner, j.queue, j.handler, j.api FROM rota_labels l CROSS JOIN rota_jobs j ON j.id = l.job
WHERE l.name = ? AND l.value = ? AND l.job >= ? AND l.job < ? ORDER BY l.job DESC;
-- `?` in what an error's JSON says; it has no entry in the index while there is none.
-- name: find_by_error
SELECT id, state, owner, queue, handler, api, instr(lower(error), ?) > 0 FROM rota_jobs INDEXED BY rota_jobs_error
WHERE error IS NOT NULL AND id >= ? AND id < ? ORDER BY id DESC;
-- name: has_label
SELECT 1 FROM rota_labels WHERE name = ? AND value = ? AND job = ?;
