-- Statements take whole batches, as arrays. Rows are looked up one by one in a LATERAL with OFFSET 0, which the planner does
-- not take apart: joined to a table that was never analyzed, it would guess, and scan. Updates then go by `ctid` and by nothing
-- else, for the same reason: their rows are held, and were compared just before. (To compare what is equal, as `j.id = u.job`,
-- makes the planner expect few rows, and go to each instead of through all.) A test holds all plans.

-- name: insert_jobs
WITH u AS (
  SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::text[], $6::text::text[],
    $7::text::text[], $8::text::text[], $9::text::text[], $10::text::text[], $11::text::text[], $12::text::bigint[], $13::text::text[],
    $14::text::int[], $15::text::bigint[], $16::text::bigint[], $17::text::bigint[], $18::text::float8[], $19::text::float8[],
    $20::text::text[], $21::text::text[], $22::text::text[], $23::text::bigint[], $24::text::text[], $25::text::text[], $26::text::text[],
    $27::text::text[], $28::text::text[], $29::text::int[], $30::text::text[], $31::text::text[], $32::text::text[], $33::text::int[],
    $34::text::int[], $35::text::text[], $36::text::bool[], $37::text::text[], $38::text::text[], $39::text::bigint[], $40::text::text[],
    $41::text::int[])
    AS u(id, state, kind, lane, handler, script, data, args, variables, owner, queue, priority, labels, waiting_for, run_at, submitted_at,
      max_failures, timeout_s, grace_s, backoff, hook, retry_of, finished_at, error, reason, image, options, api, inputs, traceparent,
      run, ref, least, spare, map, refers, unique_key, needs, size, limit_key, slots)),
listed AS (INSERT INTO rota_listed (id, owner, queue, handler, run) SELECT id, owner, queue, handler, run FROM u)
INSERT INTO rota_jobs (id, state, kind, lane, handler, script, data, args, variables, owner, queue, priority, labels, waiting_for, run_at,
  submitted_at, max_failures, timeout_s, grace_s, backoff, hook, retry_of, finished_at, error, reason, image, options, api, inputs, traceparent,
  run, ref, least, spare, map, refers, unique_key, needs, size, limit_key, slots)
SELECT * FROM u;

-- name: insert_labels
INSERT INTO rota_labels (name, value, job) SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::text[]);

-- name: insert_dependencies
INSERT INTO rota_dependencies (after, job, position, condition, told, met, refers)
SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::int[], $4::text::text[], $5::text::text[], $6::text::bool[],
  $7::text::bool[]);

-- name: get_job
SELECT id, state, kind, handler, script, data, args, variables, owner, queue, priority, labels, waiting_for, run_at, submitted_at,
  started_at, finished_at, attempt, failures, crashes, max_failures, timeout_s, grace_s, backoff, worker, deadline_at, progress,
  result, error, reason, abort_requested_at, confirmed, hook, retry_of, image, options, api, inputs, open, traceparent,
  run, ref, least, spare, map, refers, unique_key, needs, size, limit_key, slots
FROM unnest($1::text[]) AS u(job) CROSS JOIN LATERAL (SELECT * FROM rota_jobs WHERE id = u.job OFFSET 0) j;

-- What decides: no payload. This one only looks.
-- name: look_at_job
SELECT j.* FROM unnest($1::text::text[]) AS u(job) CROSS JOIN LATERAL (
  SELECT id, state, kind, handler, owner, queue, priority, waiting_for, run_at, submitted_at, started_at, attempt, failures, crashes,
    max_failures, timeout_s, grace_s, backoff, worker, deadline_at, error, abort_requested_at, hook, api, inputs, open, run, spare, map, needs, size, limit_key, lane, slots
  FROM rota_jobs WHERE id = u.job OFFSET 0) j;

-- What decides: no payload. The ids come sorted, and rows are locked in that order.
-- name: lock_job
SELECT j.* FROM unnest($1::text::text[]) AS u(job) CROSS JOIN LATERAL (
  SELECT id, state, kind, handler, owner, queue, priority, waiting_for, run_at, submitted_at, started_at, attempt, failures, crashes,
    max_failures, timeout_s, grace_s, backoff, worker, deadline_at, error, abort_requested_at, hook, api, inputs, open, run, spare, map, needs, size, limit_key, lane, slots
  FROM rota_jobs WHERE id = u.job OFFSET 0 FOR NO KEY UPDATE) j;

-- The same, for a transaction that holds jobs already: it must not wait.
-- name: lock_job_now
SELECT j.* FROM unnest($1::text::text[]) AS u(job) CROSS JOIN LATERAL (
  SELECT id, state, kind, handler, owner, queue, priority, waiting_for, run_at, submitted_at, started_at, attempt, failures, crashes,
    max_failures, timeout_s, grace_s, backoff, worker, deadline_at, error, abort_requested_at, hook, api, inputs, open, run, spare, map, needs, size, limit_key, lane, slots
  FROM rota_jobs WHERE id = u.job OFFSET 0 FOR NO KEY UPDATE NOWAIT) j;

-- The same, of those that nobody else holds.
-- name: lock_free
SELECT j.* FROM unnest($1::text::text[]) AS u(job) CROSS JOIN LATERAL (
  SELECT id, state, kind, handler, owner, queue, priority, waiting_for, run_at, submitted_at, started_at, attempt, failures, crashes,
    max_failures, timeout_s, grace_s, backoff, worker, deadline_at, error, abort_requested_at, hook, api, inputs, open, run, spare, map, needs, size, limit_key, lane, slots
  FROM rota_jobs WHERE id = u.job OFFSET 0 FOR NO KEY UPDATE SKIP LOCKED) j;

-- name: result_of
SELECT state, result, inputs, map IS NOT NULL FROM rota_jobs WHERE id = $1;

-- name: become_array
UPDATE rota_jobs SET inputs = $1, size = $2 WHERE id = $3;

-- name: after_of
SELECT job, after, condition FROM rota_dependencies WHERE job = ANY($1::text[]) ORDER BY job, position;

-- What a worker needs of an array that it is about to get a shard of.
-- name: offer_job
SELECT attempt, kind, handler, script, data, args, variables, owner, timeout_s, grace_s, hook, queue, lane, run_at, image, options, submitted_at, traceparent,
  run, refers, size
FROM rota_jobs WHERE id = $1 AND (state = 'queued' OR open);

-- queued -> running: the first jobs of rows of turns that nobody else holds, and what a worker needs of them. Nobody waits
-- here, so claims never wait for each other.
-- name: claim_job
WITH u AS MATERIALIZED (
  SELECT l.n, l.timeout_s, l.max_failures, h.tid
  FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::text[], $5::text::int[], $6::text::float8[], $7::text::bigint[])
    WITH ORDINALITY AS l(queue, priority, owner, lane, room, timeout_s, max_failures, n)
  CROSS JOIN LATERAL (
    SELECT ctid AS tid, queue, lane, owner, priority, state, limit_key FROM rota_jobs
    WHERE (state = 'queued' OR open) AND queue = l.queue AND lane = l.lane AND owner = l.owner AND priority = l.priority
    ORDER BY run_at, id LIMIT l.room FOR NO KEY UPDATE SKIP LOCKED) h
  WHERE h.queue = l.queue AND h.lane = l.lane AND h.owner = l.owner AND h.priority = l.priority AND h.state = 'queued'
    AND (h.limit_key IS NULL OR NOT $10))
UPDATE rota_jobs AS j SET state = 'running', attempt = j.attempt + 1, worker = $8, started_at = $9, progress = NULL, error = NULL,
  timeout_s = coalesce(j.timeout_s, u.timeout_s), max_failures = coalesce(j.max_failures, u.max_failures),
  deadline_at = $9::bigint + round(coalesce(j.timeout_s, u.timeout_s) * 1000000)::bigint
FROM u WHERE j.ctid = u.tid
RETURNING u.n, j.run_at, j.id, j.attempt - 1, j.kind, j.handler, j.script, j.data, j.args, j.variables, j.owner, j.timeout_s,
  j.grace_s, j.hook, j.queue, j.lane, j.run_at, j.image, j.options, j.submitted_at, j.traceparent, j.run, j.refers, j.size, j.limit_key;

-- The same, of jobs that were chosen one by one: where keys have limits. Those of a row are the text of an array.
-- name: claim_these
WITH u AS MATERIALIZED (
  SELECT l.n, l.timeout_s, l.max_failures, h.tid
  FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::text[], $5::text::float8[], $6::text::bigint[], $7::text::text[])
    WITH ORDINALITY AS l(queue, priority, owner, lane, timeout_s, max_failures, jobs, n)
  CROSS JOIN LATERAL unnest(l.jobs::text[]) AS c(job)
  CROSS JOIN LATERAL (
    SELECT ctid AS tid, queue, lane, owner, priority, state FROM rota_jobs WHERE id = c.job
    OFFSET 0 FOR NO KEY UPDATE SKIP LOCKED) h
  WHERE h.queue = l.queue AND h.lane = l.lane AND h.owner = l.owner AND h.priority = l.priority AND h.state = 'queued')
UPDATE rota_jobs AS j SET state = 'running', attempt = j.attempt + 1, worker = $8, started_at = $9, progress = NULL, error = NULL,
  timeout_s = coalesce(j.timeout_s, u.timeout_s), max_failures = coalesce(j.max_failures, u.max_failures),
  deadline_at = $9::bigint + round(coalesce(j.timeout_s, u.timeout_s) * 1000000)::bigint
FROM u WHERE j.ctid = u.tid
RETURNING u.n, j.run_at, j.id, j.attempt - 1, j.kind, j.handler, j.script, j.data, j.args, j.variables, j.owner, j.timeout_s,
  j.grace_s, j.hook, j.queue, j.lane, j.run_at, j.image, j.options, j.submitted_at, j.traceparent, j.run, j.refers, j.size, j.limit_key;

-- running -> whatever was settled; a row that moved on meanwhile is left alone
-- name: settle_job
WITH u AS MATERIALIZED (
  SELECT u.*, j.tid
  FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::bigint[], $5::text::bigint[], $6::text::bigint[], $7::text::bigint[], $8::text::text[], $9::text::text[],
    $10::text::text[], $11::text::bool[], $12::text::bool[]) AS u(job, attempt, state, run_at, failures, crashes, finished_at, result, error, reason,
    confirmed, over)
  CROSS JOIN LATERAL (SELECT ctid AS tid, state, attempt FROM rota_jobs WHERE id = u.job OFFSET 0) j
  WHERE j.state = 'running' AND j.attempt = u.attempt)
UPDATE rota_jobs AS j SET state = u.state, run_at = u.run_at, failures = u.failures, crashes = u.crashes, finished_at = u.finished_at,
  result = u.result, error = u.error, reason = u.reason, confirmed = u.confirmed, worker = CASE WHEN u.over THEN j.worker END,
  deadline_at = NULL, lease_until = NULL
FROM u WHERE j.ctid = u.tid
RETURNING j.id;

-- running -> succeeded, unless something came between since it was claimed. The ids come sorted, and rows are waited for in that
-- order; one that somebody has changed meanwhile is no longer where it was, and is left alone.
-- name: settle_known
WITH u AS MATERIALIZED (
  SELECT u.*, j.tid FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[]) AS u(job, attempt, result)
  CROSS JOIN LATERAL (SELECT ctid AS tid, state, attempt, worker, abort_requested_at FROM rota_jobs WHERE id = u.job OFFSET 0) j
  WHERE j.state = 'running' AND j.attempt = u.attempt AND j.worker = $4 AND j.abort_requested_at IS NULL)
UPDATE rota_jobs AS j SET state = 'succeeded', finished_at = $5, result = u.result, error = NULL, reason = NULL, confirmed = NULL,
  deadline_at = NULL, lease_until = NULL
FROM u WHERE j.ctid = u.tid
RETURNING j.id;

-- blocked | scheduled | queued -> whatever was settled
-- name: move_job
WITH u AS MATERIALIZED (
  SELECT u.*, j.tid
  FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::bigint[], $5::text::int[], $6::text::bigint[], $7::text::text[], $8::text::text[])
    AS u(job, old, state, run_at, waiting_for, finished_at, error, reason)
  CROSS JOIN LATERAL (SELECT ctid AS tid, state FROM rota_jobs WHERE id = u.job OFFSET 0) j WHERE j.state = u.old)
UPDATE rota_jobs AS j SET state = u.state, run_at = u.run_at, waiting_for = u.waiting_for, finished_at = u.finished_at,
  error = u.error, reason = u.reason
FROM u WHERE j.ctid = u.tid
RETURNING j.id;

-- name: request_abort
WITH u AS MATERIALIZED (
  SELECT j.tid FROM unnest($2::text[]) AS u(job)
  CROSS JOIN LATERAL (SELECT ctid AS tid, id, state FROM rota_jobs WHERE id = u.job OFFSET 0) j
  WHERE j.id = u.job AND j.state = 'running')
UPDATE rota_jobs AS j SET abort_requested_at = $1 FROM u WHERE j.ctid = u.tid AND j.abort_requested_at IS NULL;

-- name: edit_job
UPDATE rota_jobs SET priority = $1, run_at = $2, queue = $3, state = $4 WHERE id = $5 AND state = $6;

-- name: edit_listed
UPDATE rota_listed SET queue = $1 WHERE id = $2 AND queue <> $1;

-- name: set_waits
WITH u AS MATERIALIZED (
  SELECT u.*, j.tid FROM unnest($1::text::text[], $2::text::int[], $3::text::int[]) AS u(job, need, spare)
  CROSS JOIN LATERAL (SELECT ctid AS tid, state FROM rota_jobs WHERE id = u.job OFFSET 0) j WHERE j.state = 'blocked')
UPDATE rota_jobs AS j SET waiting_for = u.need, spare = u.spare FROM u WHERE j.ctid = u.tid;

-- name: due_jobs
SELECT id FROM rota_jobs WHERE state = 'scheduled' AND run_at <= $1 ORDER BY run_at, id LIMIT $2;

-- name: take_due_jobs
SELECT id FROM rota_jobs WHERE state = 'scheduled' AND run_at <= $1 ORDER BY run_at, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED;

-- name: overdue_jobs
SELECT id, attempt, worker, deadline_at, grace_s, kind FROM rota_jobs WHERE deadline_at IS NOT NULL AND deadline_at <= $1
ORDER BY deadline_at LIMIT $2;

-- name: running_of
SELECT u.worker, j.* FROM unnest($1::text::text[]) AS u(worker) CROSS JOIN LATERAL (
  SELECT id, attempt, lease_until, abort_requested_at, deadline_at, grace_s, handler, coalesce(slots, 1) FROM rota_jobs
  WHERE state = 'running' AND worker = u.worker OFFSET 0) j;

-- name: unname_lease
WITH u AS MATERIALIZED (
  SELECT u.*, j.tid FROM unnest($1::text::text[], $2::text::bigint[], $3::text::bigint[]) AS u(job, attempt, until)
  CROSS JOIN LATERAL (SELECT ctid AS tid, state, attempt FROM rota_jobs WHERE id = u.job OFFSET 0) j
  WHERE j.state = 'running' AND j.attempt = u.attempt)
UPDATE rota_jobs AS j SET lease_until = u.until FROM u WHERE j.ctid = u.tid;

-- name: unnamed_leases
SELECT id FROM rota_jobs WHERE lease_until IS NOT NULL AND lease_until <= $1 ORDER BY lease_until LIMIT $2;

-- name: take_unnamed_leases
SELECT id FROM rota_jobs WHERE lease_until IS NOT NULL AND lease_until <= $1 ORDER BY lease_until LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED;

-- Leases that are to end sooner, for `clamp_unnamed`.
-- name: late_leases
SELECT id FROM rota_jobs WHERE lease_until IS NOT NULL AND lease_until > $1;

-- name: clamp_unnamed
UPDATE rota_jobs SET lease_until = $1 WHERE id = ANY($2::text[]) AND lease_until IS NOT NULL AND lease_until > $1;

-- name: set_progress
WITH u AS MATERIALIZED (
  SELECT u.*, j.tid FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[]) AS u(job, attempt, progress)
  CROSS JOIN LATERAL (SELECT ctid AS tid, state, attempt, worker FROM rota_jobs WHERE id = u.job OFFSET 0) j
  WHERE j.state = 'running' AND j.attempt = u.attempt AND j.worker = $4)
UPDATE rota_jobs AS j SET progress = u.progress FROM u WHERE j.ctid = u.tid RETURNING j.id;

-- name: holds
SELECT 1 FROM rota_jobs WHERE id = $1 AND attempt = $2 AND state = 'running' AND worker = $3;

-- What waits for these jobs, and has not been told of their end.
-- name: dependents_of
SELECT d.* FROM unnest($1::text::text[]) AS u(after)
CROSS JOIN LATERAL (SELECT after, job, condition FROM rota_dependencies WHERE after = u.after AND NOT met AND told IS NULL OFFSET 0) d;

-- Whoever tells holds `after`; nobody else writes these rows while `job` is held too, or not counted.
-- name: tell
WITH u AS MATERIALIZED (
  SELECT u.*, d.tid FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::bool[]) AS u(after, job, told, met)
  CROSS JOIN LATERAL (SELECT ctid AS tid, after, job FROM rota_dependencies WHERE after = u.after AND job = u.job OFFSET 0) d
  WHERE d.after = u.after AND d.job = u.job)
UPDATE rota_dependencies AS d SET told = u.told, met = u.met FROM u WHERE d.ctid = u.tid;

-- What these jobs have been told, and nobody has counted.
-- name: told_of
SELECT d.* FROM unnest($1::text::text[]) AS u(job)
CROSS JOIN LATERAL (SELECT after, job, condition, told FROM rota_dependencies WHERE job = u.job AND told IS NOT NULL AND NOT met OFFSET 0) d;

-- name: told_jobs
SELECT DISTINCT job FROM (SELECT job FROM rota_dependencies WHERE told IS NOT NULL AND NOT met ORDER BY job LIMIT $1) d;

-- name: unmet_of
SELECT after, condition FROM rota_dependencies WHERE job = $1 AND NOT met LIMIT $2;

-- An array whose results another one shows stays as long as that one; a result that is referred to as long as whoever does.
-- name: over_before
SELECT id, queue, lane, CASE WHEN kind = 'pull' AND reason = 'timed_out' THEN reason ELSE state END FROM rota_jobs
WHERE finished_at IS NOT NULL AND finished_at < $1
  AND (inputs IS NULL OR (SELECT count(*) FROM (SELECT 1 FROM rota_arrays WHERE base = id LIMIT 1) b) = 0)
  AND (SELECT count(*) FROM (SELECT 1 FROM rota_dependencies d CROSS JOIN LATERAL (SELECT finished_at FROM rota_jobs WHERE id = d.job OFFSET 0) c
    WHERE d.after = rota_jobs.id AND d.refers AND c.finished_at IS NULL LIMIT 1) b) = 0
ORDER BY finished_at LIMIT $2;

-- name: take_over_before
SELECT id, queue, lane, CASE WHEN kind = 'pull' AND reason = 'timed_out' THEN reason ELSE state END FROM rota_jobs
WHERE finished_at IS NOT NULL AND finished_at < $1
  AND (inputs IS NULL OR (SELECT count(*) FROM (SELECT 1 FROM rota_arrays WHERE base = id LIMIT 1) b) = 0)
  AND (SELECT count(*) FROM (SELECT 1 FROM rota_dependencies d CROSS JOIN LATERAL (SELECT finished_at FROM rota_jobs WHERE id = d.job OFFSET 0) c
    WHERE d.after = rota_jobs.id AND d.refers AND c.finished_at IS NULL LIMIT 1) b) = 0
ORDER BY finished_at LIMIT $2 FOR UPDATE SKIP LOCKED;

-- Those of these jobs whose results are referred to by some that are not over.
-- name: is_referred
SELECT u.job FROM unnest($1::text[]) AS u(job)
WHERE (SELECT count(*) FROM (SELECT 1 FROM rota_dependencies d CROSS JOIN LATERAL (SELECT finished_at FROM rota_jobs WHERE id = d.job OFFSET 0) c
  WHERE d.after = u.job AND d.refers AND c.finished_at IS NULL LIMIT 1) b) > 0;

-- What these workers run: jobs, and shards of arrays.
-- name: held_lanes
SELECT lane FROM rota_jobs WHERE state = 'running' AND worker = ANY($1::text[])
UNION ALL SELECT j.lane FROM rota_shards s CROSS JOIN rota_jobs j WHERE s.worker = ANY($1::text[]) AND j.id = s.job;

-- How long the jobs ran that were over last; those that never ran say nothing.
-- name: recent_runs
SELECT owner, priority, lane, started_at, finished_at FROM rota_jobs WHERE finished_at IS NOT NULL
ORDER BY finished_at DESC LIMIT $1;

-- name: delete_job
DELETE FROM rota_jobs WHERE id = ANY($1::text[]) RETURNING id;
-- name: delete_listed
DELETE FROM rota_listed WHERE id = ANY($1::text[]);
-- name: delete_labels
DELETE FROM rota_labels WHERE job = ANY($1::text[]);
-- name: delete_dependencies
DELETE FROM rota_dependencies WHERE job = ANY($1::text[]);
-- name: delete_dependents
DELETE FROM rota_dependencies WHERE after = ANY($1::text[]);
-- name: delete_attempts
DELETE FROM rota_attempts WHERE job = ANY($1::text[]);
-- name: delete_events
DELETE FROM rota_events WHERE job = ANY($1::text[]) AND others IS NULL;
-- name: delete_logs
DELETE FROM rota_logs WHERE job = ANY($1::text[]);
-- name: delete_deliveries
DELETE FROM rota_deliveries WHERE job = ANY($1::text[]);

-- name: find_by_api
SELECT j.* FROM unnest($2::text[]) AS s(state) CROSS JOIN LATERAL (
  SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE api = $1 AND state = s.state AND id >= $3 AND id < $4
  ORDER BY id DESC LIMIT $5) j ORDER BY id DESC LIMIT $5;
-- name: find_by_api_owner
SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE api = $1 AND owner = $2 AND id >= $3 AND id < $4 ORDER BY id DESC LIMIT $5;

-- A listing walks one of these, newest first, and checks the other filters on the way.
-- name: find_all
SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE id >= $1 AND id < $2 ORDER BY id DESC LIMIT $3;
-- name: find_by_owner
SELECT j.* FROM (SELECT id FROM rota_listed WHERE owner = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4) l
CROSS JOIN LATERAL (SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE id = l.id OFFSET 0) j;
-- name: find_by_state
SELECT j.* FROM unnest($1::text[]) AS s(state) CROSS JOIN LATERAL (
  SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE state = s.state AND id >= $2 AND id < $3
  ORDER BY id DESC LIMIT $4) j ORDER BY id DESC LIMIT $4;
-- name: find_by_handler
SELECT j.* FROM (SELECT id FROM rota_listed WHERE handler = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4) l
CROSS JOIN LATERAL (SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE id = l.id OFFSET 0) j;
-- name: find_by_queue
SELECT j.* FROM (SELECT id FROM rota_listed WHERE queue = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4) l
CROSS JOIN LATERAL (SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE id = l.id OFFSET 0) j;
-- name: find_by_run
SELECT j.* FROM (SELECT id FROM rota_listed WHERE run = $1 AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4) l
CROSS JOIN LATERAL (SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE id = l.id OFFSET 0) j;
-- name: find_by_label
SELECT j.* FROM (SELECT job FROM rota_labels WHERE name = $1 AND value = $2 AND job >= $3 AND job < $4 ORDER BY job DESC LIMIT $5) l
CROSS JOIN LATERAL (SELECT id, state, owner, queue, handler, api FROM rota_jobs WHERE id = l.job OFFSET 0) j;
-- name: find_by_error
SELECT id, state, owner, queue, handler, api, strpos(lower(error COLLATE "C"), $1) > 0 FROM rota_jobs
WHERE error IS NOT NULL AND id >= $2 AND id < $3 ORDER BY id DESC LIMIT $4;
-- name: has_label
SELECT u.job FROM unnest($3::text[]) AS u(job)
CROSS JOIN LATERAL (SELECT 1 FROM rota_labels WHERE name = $1 AND value = $2 AND job = u.job OFFSET 0) l;

-- When the next job is due, attempt overdue, lease over, hook to be called: asked once a second, and so in one statement.
-- name: wakeups
SELECT
  least((SELECT run_at FROM rota_jobs WHERE state = 'scheduled' ORDER BY run_at LIMIT 1),
        (SELECT run_at FROM rota_ranges WHERE NOT due ORDER BY run_at LIMIT 1)),
  (SELECT deadline_at FROM rota_jobs WHERE deadline_at IS NOT NULL ORDER BY deadline_at LIMIT 1),
  least((SELECT lease_until FROM rota_jobs WHERE lease_until IS NOT NULL ORDER BY lease_until LIMIT 1),
        (SELECT lease_until FROM rota_shards WHERE lease_until IS NOT NULL ORDER BY lease_until LIMIT 1),
        (SELECT min(lease_until) FROM rota_workers WHERE gone_at IS NULL)),
  (SELECT next_at FROM rota_deliveries WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1),
  (SELECT next_at FROM rota_schedules WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1),
  (SELECT 1 FROM rota_schedules WHERE waiting IS NOT NULL LIMIT 1) IS NOT NULL,
  (SELECT 1 FROM rota_dependencies WHERE told IS NOT NULL AND NOT met LIMIT 1) IS NOT NULL,
  (SELECT limit_key FROM rota_jobs WHERE limit_key > '' AND state = 'queued' AND substr(lane, 1, 5) = 'held:' ORDER BY limit_key LIMIT 1) IS NOT NULL;
