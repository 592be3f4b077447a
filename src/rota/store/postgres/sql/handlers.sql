-- name: put_checkpoints
INSERT INTO rota_checkpoints (job, attempt, at, value)
SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::bigint[], $4::text::text[])
ON CONFLICT (job) DO UPDATE SET attempt = excluded.attempt, at = excluded.at, value = excluded.value;

-- name: checkpoints_of
SELECT c.* FROM unnest($1::text::text[]) AS u(job)
CROSS JOIN LATERAL (SELECT job, attempt, at, value FROM rota_checkpoints WHERE job = u.job OFFSET 0) c;

-- name: about_checkpoint
SELECT attempt, at, octet_length(value) FROM rota_checkpoints WHERE job = $1;

-- name: delete_checkpoints
DELETE FROM rota_checkpoints WHERE job = ANY($1::text[]);

-- How often the handler of a job has put it off, counted up to a limit.
-- name: count_snoozes
SELECT count(*) FROM (SELECT 1 FROM rota_attempts WHERE job = $1 AND outcome = 'snoozed' LIMIT $2) s;

-- name: put_signatures
INSERT INTO rota_signatures (handler, version, seen_at, schema)
SELECT h, v, $3, s FROM unnest($1::text::text[], $2::text::text[], $4::text::text[]) AS u(h, v, s)
ON CONFLICT (handler, version) DO UPDATE SET seen_at = excluded.seen_at;

-- All but the newest of a handler.
-- name: prune_signatures
DELETE FROM rota_signatures WHERE ctid = ANY(ARRAY(
  SELECT s.ctid FROM unnest($1::text::text[]) AS u(handler) CROSS JOIN LATERAL (
    SELECT ctid FROM rota_signatures WHERE handler = u.handler ORDER BY seen_at DESC LIMIT 1000 OFFSET $2) s));

-- name: signatures
SELECT s.* FROM unnest($1::text::text[], $2::text::text[]) AS u(handler, version) CROSS JOIN LATERAL (
  SELECT handler, version, schema FROM rota_signatures WHERE handler = u.handler AND version = u.version OFFSET 0) s;

-- name: get_handler
SELECT spec, seen_at FROM rota_handlers WHERE name = $1;
