-- name: insert_unique
INSERT OR IGNORE INTO rota_uniques (owner, key, job, until) VALUES (?, ?, ?, ?);

-- name: get_unique
SELECT job, until FROM rota_uniques WHERE owner = ? AND key = ?;

-- name: put_unique
UPDATE rota_uniques SET job = ?, until = ? WHERE owner = ? AND key = ?;

-- name: delete_uniques_of
DELETE FROM rota_uniques WHERE job = ? AND until IS NULL;

-- name: forget_uniques
DELETE FROM rota_uniques WHERE (owner, key) IN (SELECT owner, key FROM rota_uniques WHERE until IS NOT NULL AND until <= ? ORDER BY until LIMIT ?);
