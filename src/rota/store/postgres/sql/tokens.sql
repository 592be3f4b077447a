-- name: insert_token
INSERT INTO rota_tokens (id, hash, role, name, owner, queues, allow, created_at, expires_at, revision)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, 1);

-- name: tokens
SELECT id, hash, role, name, owner, queues, allow, created_at, expires_at, revoked_at FROM rota_tokens ORDER BY created_at, id;

-- name: revoke_token
UPDATE rota_tokens SET revoked_at = $1, revision = revision + 1 WHERE id = $2 AND revoked_at IS NULL;

-- Grows with every change: no row is ever removed.
-- name: tokens_version
SELECT coalesce(sum(revision), 0)::bigint FROM rota_tokens;

-- name: append_audit
INSERT INTO rota_audit (at, n, token, role, owner, address, action, target, status)
SELECT $1, u.* FROM unnest($2::text::bigint[], $3::text::text[], $4::text::text[], $5::text::text[], $6::text::text[], $7::text::text[], $8::text::text[], $9::text::integer[]) AS u;

-- name: audit_before
SELECT seq, at, n, token, role, owner, address, action, target, status FROM rota_audit WHERE seq < $1 ORDER BY seq DESC LIMIT $2;

-- name: audit_of_token
SELECT seq, at, n, token, role, owner, address, action, target, status FROM rota_audit WHERE token = $1 AND seq < $2
ORDER BY seq DESC LIMIT $3;

-- name: last_audit
SELECT coalesce(max(seq), 0) FROM rota_audit;

-- name: oldest_audit
SELECT seq, at FROM rota_audit WHERE seq > $1 ORDER BY seq LIMIT $2;

-- name: delete_audit
DELETE FROM rota_audit WHERE seq <= $1;
