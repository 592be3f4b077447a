-- name: insert_delivery
INSERT OR IGNORE INTO deliveries (id, job, url, body, next_at) VALUES (?,?,?,?,?);

-- name: due_deliveries
SELECT id, job, url, body, tries, log FROM deliveries WHERE next_at IS NOT NULL AND next_at <= ? ORDER BY next_at LIMIT ?;

-- name: next_delivery
SELECT next_at FROM deliveries WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1;

-- name: lease_delivery
UPDATE deliveries SET next_at = ? WHERE id = ? AND next_at IS NOT NULL;

-- name: note_delivery
UPDATE deliveries SET tries = ?, next_at = ?, done_at = ?, gave_up = ?, log = ? WHERE id = ?;

-- name: deliveries_of
SELECT id, job, url, body, tries, next_at, done_at, gave_up, log FROM deliveries WHERE job = ? ORDER BY id;

-- name: get_answer
SELECT fingerprint, body FROM answers WHERE key = ?;

-- name: put_answer
INSERT INTO answers (key, fingerprint, body, made_at) VALUES (?,?,?,?);

-- name: forget_answers
DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE made_at < ? LIMIT ?);
