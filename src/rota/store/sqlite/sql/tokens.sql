-- name: insert_token
INSERT INTO rota_tokens (id, hash, role, name, owner, queues, allow, created_at, expires_at, revision) VALUES (?,?,?,?,?,?,?,?,?,1);

-- name: tokens
SELECT id, hash, role, name, owner, queues, allow, created_at, expires_at, revoked_at FROM rota_tokens ORDER BY created_at, id;

-- name: revoke_token
UPDATE rota_tokens SET revoked_at = ?, revision = revision + 1 WHERE id = ? AND revoked_at IS NULL;

-- Grows with every change: no row is ever removed.
-- name: tokens_version
SELECT coalesce(sum(revision), 0) FROM rota_tokens;

-- name: append_audit
INSERT INTO rota_audit (at, n, token, role, owner, address, action, target, status) VALUES (?,?,?,?,?,?,?,?,?);

-- name: audit_before
SELECT seq, at, n, token, role, owner, address, action, target, status FROM rota_audit WHERE seq < ? ORDER BY seq DESC LIMIT ?;

-- name: audit_of_token
SELECT seq, at, n, token, role, owner, address, action, target, status FROM rota_audit WHERE token = ? AND seq < ? ORDER BY seq DESC LIMIT ?;

-- name: last_audit
SELECT coalesce(max(seq), 0) FROM rota_audit;

-- name: oldest_audit
SELECT seq, at FROM rota_audit WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: delete_audit
DELETE FROM rota_audit WHERE seq <= ?;
