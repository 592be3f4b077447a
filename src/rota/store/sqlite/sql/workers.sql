-- A worker that pulls may come again under its id. What it is told with a heartbeat it is not told now: `beat_at` stays.
-- name: insert_worker
INSERT INTO rota_workers (id, hello, registered_at, beat_at, lease_until) VALUES (?,?,?,?,?)
ON CONFLICT (id) DO UPDATE SET hello = excluded.hello, lease_until = excluded.lease_until, draining = 0, gone_at = NULL, gone_why = NULL,
  registered_at = CASE WHEN gone_at IS NULL THEN registered_at ELSE excluded.registered_at END,
  beat_at = CASE WHEN gone_at IS NULL THEN beat_at ELSE excluded.beat_at END;

-- name: get_worker
SELECT id, hello, registered_at, beat_at, lease_until, draining, gone_at, gone_why FROM rota_workers WHERE id = ?;

-- name: list_workers
SELECT id, hello, registered_at, beat_at, lease_until, draining, gone_at, gone_why FROM rota_workers ORDER BY gone_at IS NOT NULL, registered_at;

-- name: renew_worker
UPDATE rota_workers SET beat_at = ?, lease_until = ? WHERE id = ? AND gone_at IS NULL;

-- name: clamp_workers
UPDATE rota_workers SET lease_until = ? WHERE gone_at IS NULL AND lease_until > ?;

-- name: drain_worker
UPDATE rota_workers SET draining = 1 WHERE id = ? AND gone_at IS NULL;

-- name: bury_worker
UPDATE rota_workers SET gone_at = ?, gone_why = ? WHERE id = ? AND gone_at IS NULL;

-- name: expired_workers
SELECT id FROM rota_workers WHERE gone_at IS NULL AND lease_until <= ? ORDER BY lease_until LIMIT ?;

-- name: next_worker_expiry
SELECT lease_until FROM rota_workers WHERE gone_at IS NULL ORDER BY lease_until LIMIT 1;

-- name: forget_workers
DELETE FROM rota_workers WHERE gone_at IS NOT NULL AND gone_at < ?;

-- name: put_handler
INSERT INTO rota_handlers (name, spec, seen_at) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, seen_at = excluded.seen_at;

-- name: handlers
SELECT name, spec, seen_at FROM rota_handlers ORDER BY name;
