-- name: insert_delivery
INSERT INTO rota_deliveries (id, job, url, body, next_at)
SELECT u.*, $5 FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[]) AS u ON CONFLICT DO NOTHING;

-- name: due_deliveries
SELECT id, job, url, body, tries, log FROM rota_deliveries WHERE next_at IS NOT NULL AND next_at <= $1 ORDER BY next_at LIMIT $2
FOR NO KEY UPDATE SKIP LOCKED;

-- name: lease_delivery
UPDATE rota_deliveries SET next_at = $1 WHERE id = ANY($2::text[]) AND next_at IS NOT NULL;

-- name: note_delivery
UPDATE rota_deliveries SET tries = $1, next_at = $2, done_at = $3, gave_up = $4, log = $5 WHERE id = $6;

-- Again from the first try on; what was tried stays in the log.
-- name: resend_delivery
UPDATE rota_deliveries SET tries = 0, next_at = $1, done_at = NULL, gave_up = false WHERE id = $2 AND job = $3 RETURNING 1;

-- name: deliveries_of
SELECT id, job, url, body, tries, next_at, done_at, gave_up, log FROM rota_deliveries WHERE job = $1 ORDER BY id;

-- name: get_answer
SELECT fingerprint, body FROM rota_answers WHERE key = $1;

-- name: put_answer
INSERT INTO rota_answers (key, fingerprint, body, made_at) VALUES ($1, $2, $3, $4);

-- name: forget_answers
DELETE FROM rota_answers WHERE key = ANY(ARRAY(SELECT key FROM rota_answers WHERE made_at < $1 ORDER BY made_at LIMIT $2 FOR UPDATE SKIP LOCKED));
