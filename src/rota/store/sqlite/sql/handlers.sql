-- name: put_checkpoints
INSERT INTO rota_checkpoints (job, attempt, at, value) VALUES (?, ?, ?, ?)
ON CONFLICT (job) DO UPDATE SET attempt = excluded.attempt, at = excluded.at, value = excluded.value;

-- name: checkpoints_of
SELECT job, attempt, at, value FROM rota_checkpoints WHERE job = ?;

-- name: about_checkpoint
SELECT attempt, at, length(CAST(value AS BLOB)) FROM rota_checkpoints WHERE job = ?;

-- name: delete_checkpoints
DELETE FROM rota_checkpoints WHERE job = ?;

-- How often the handler of a job has put it off, counted up to a limit.
-- name: count_snoozes
SELECT count(*) FROM (SELECT 1 FROM rota_attempts WHERE job = ? AND outcome = 'snoozed' LIMIT ?);

-- name: put_signatures
INSERT INTO rota_signatures (handler, version, seen_at, schema) VALUES (?, ?, ?, ?)
ON CONFLICT (handler, version) DO UPDATE SET seen_at = excluded.seen_at;

-- All but the newest of a handler.
-- name: prune_signatures
DELETE FROM rota_signatures WHERE (handler, version) IN (
  SELECT handler, version FROM rota_signatures WHERE handler = ? ORDER BY seen_at DESC LIMIT 1000 OFFSET ?);

-- name: signatures
SELECT handler, version, schema FROM rota_signatures WHERE handler = ? AND version = ?;

-- name: get_handler
SELECT spec, seen_at FROM rota_handlers WHERE name = ?;
