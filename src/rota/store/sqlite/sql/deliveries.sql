-- name: insert_delivery
INSERT OR IGNORE INTO rota_deliveries (id, job, url, body, next_at) VALUES (?,?,?,?,?);

-- name: due_deliveries
SELECT id, job, url, body, tries, log FROM rota_deliveries WHERE next_at IS NOT NULL AND next_at <= ? ORDER BY next_at LIMIT ?;

-- name: next_delivery
SELECT next_at FROM rota_deliveries WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1;

-- name: lease_delivery
UPDATE rota_deliveries SET next_at = ? WHERE id = ? AND next_at IS NOT NULL;

-- name: note_delivery
UPDATE rota_deliveries SET tries = ?, next_at = ?, done_at = ?, gave_up = ?, log = ? WHERE id = ?;

-- Again from the first try on; what was tried stays in the log.
-- name: resend_delivery
UPDATE rota_deliveries SET tries = 0, next_at = ?, done_at = NULL, gave_up = 0 WHERE id = ? AND job = ?;

-- name: deliveries_of
SELECT id, job, url, body, tries, next_at, done_at, gave_up, log FROM rota_deliveries WHERE job = ? ORDER BY id;

-- name: get_answer
SELECT fingerprint, body FROM rota_answers WHERE key = ?;

-- name: put_answer
INSERT INTO rota_answers (key, fingerprint, body, made_at) VALUES (?,?,?,?);

-- name: forget_answers
DELETE FROM rota_answers WHERE key IN (SELECT key FROM rota_answers WHERE made_at < ? LIMIT ?);
