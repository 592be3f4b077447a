-- INDEXED BY: see jobs.sql. What is held has a mark before its lane.

-- Jobs with a key that run, counted up to a limit.
-- name: count_keys
SELECT value, (SELECT count(*) FROM (SELECT 1 FROM rota_jobs INDEXED BY rota_jobs_keys WHERE limit_key = value AND finished_at IS NULL AND state = 'running'
  LIMIT ?)) FROM json_each(?);

-- name: running_of_key
SELECT id FROM rota_jobs INDEXED BY rota_jobs_keys WHERE limit_key = ? AND finished_at IS NULL AND state = 'running' LIMIT ?;

-- Jobs with a key that claims of a lane look at, counted up to a limit.
-- name: ready_of_key
SELECT count(*) FROM (SELECT 1 FROM rota_jobs INDEXED BY rota_jobs_keys WHERE limit_key = ? AND finished_at IS NULL AND state = 'queued'
  AND queue = ? AND lane = ? LIMIT ?);

-- name: hold_jobs
UPDATE rota_jobs SET lane = 'held:' || lane WHERE id IN (SELECT id FROM rota_jobs INDEXED BY rota_jobs_keys
  WHERE limit_key = ? AND finished_at IS NULL AND state = 'queued' AND queue = ? AND lane = ? LIMIT ?);

-- name: release_jobs
UPDATE rota_jobs SET lane = substr(lane, 6) WHERE id = ? AND state = 'queued' AND substr(lane, 1, 5) = 'held:';

-- name: held_keys
SELECT limit_key FROM rota_jobs INDEXED BY rota_jobs_held WHERE limit_key > ? AND state = 'queued' AND substr(lane, 1, 5) = 'held:'
ORDER BY limit_key LIMIT 1;

-- name: are_held
SELECT 1 FROM rota_jobs INDEXED BY rota_jobs_held WHERE limit_key = ? AND state = 'queued' AND substr(lane, 1, 5) = 'held:' LIMIT 1;

-- The next row of turns that jobs of a key are held of.
-- SQLite begins to look at what is equal: with the last `run_at` there is, behind all jobs of the row before.
-- name: held_turns
SELECT queue, lane, owner, priority FROM rota_jobs INDEXED BY rota_jobs_held WHERE limit_key = ? AND state = 'queued' AND substr(lane, 1, 5) = 'held:'
  AND (queue, lane, owner, priority, run_at) > (?, ?, ?, ?, 9223372036854775807) ORDER BY queue, lane, owner, priority LIMIT 1;

-- name: held_heads
SELECT run_at, id FROM rota_jobs INDEXED BY rota_jobs_held WHERE limit_key = ? AND state = 'queued' AND substr(lane, 1, 5) = 'held:'
  AND queue = ? AND lane = ? AND owner = ? AND priority = ? ORDER BY run_at, id LIMIT ?;

-- Where an owner stands: its turn, the clock, its weight.
-- name: stand_of
SELECT coalesce((SELECT max(turn) FROM rota_turns WHERE queue = :queue AND priority = :priority AND owner = :owner), 0),
  coalesce((SELECT clock FROM rota_clocks WHERE queue = :queue AND priority = :priority), 0),
  coalesce((SELECT weight FROM rota_owners WHERE owner = :owner), 1);

-- name: forget_buckets
DELETE FROM rota_buckets WHERE kind = 'key' AND name IN (SELECT name FROM rota_buckets INDEXED BY rota_buckets_full
  WHERE kind = 'key' AND full_at < ? ORDER BY full_at LIMIT ?);
