-- A worker that pulls may come again under its id. What it is told with a heartbeat it is not told now: `beat_at` stays.
-- name: insert_worker
INSERT INTO rota_workers AS w (id, hello, registered_at, beat_at, lease_until) VALUES ($1, $2, $3, $3, $4)
ON CONFLICT (id) DO UPDATE SET hello = excluded.hello, lease_until = excluded.lease_until, draining = false, gone_at = NULL, gone_why = NULL,
  registered_at = CASE WHEN w.gone_at IS NULL THEN w.registered_at ELSE excluded.registered_at END,
  beat_at = CASE WHEN w.gone_at IS NULL THEN w.beat_at ELSE excluded.beat_at END;

-- name: get_worker
SELECT id, hello, registered_at, beat_at, lease_until, draining, gone_at, gone_why FROM rota_workers WHERE id = $1;

-- The ids come sorted, and rows are locked in that order.
-- name: lock_worker
SELECT w.* FROM unnest($1::text::text[]) AS u(id) CROSS JOIN LATERAL (
  SELECT id, hello, registered_at, beat_at, lease_until, draining, gone_at, gone_why FROM rota_workers
  WHERE id = u.id OFFSET 0 FOR NO KEY UPDATE) w;

-- name: lock_worker_now
SELECT w.* FROM unnest($1::text::text[]) AS u(id) CROSS JOIN LATERAL (
  SELECT id, hello, registered_at, beat_at, lease_until, draining, gone_at, gone_why FROM rota_workers
  WHERE id = u.id OFFSET 0 FOR NO KEY UPDATE NOWAIT) w;

-- name: list_workers
SELECT id, hello, registered_at, beat_at, lease_until, draining, gone_at, gone_why FROM rota_workers ORDER BY gone_at IS NOT NULL, registered_at;

-- name: renew_worker
UPDATE rota_workers AS w SET beat_at = $1, lease_until = u.until FROM unnest($2::text::text[], $3::text::bigint[]) AS u(id, until)
WHERE w.id = u.id AND w.gone_at IS NULL;

-- name: clamp_workers
WITH u AS MATERIALIZED (SELECT id FROM rota_workers WHERE gone_at IS NULL AND lease_until > $1 ORDER BY id FOR NO KEY UPDATE)
UPDATE rota_workers AS w SET lease_until = $1 FROM u WHERE w.id = u.id AND w.gone_at IS NULL AND w.lease_until > $1;

-- name: drain_worker
UPDATE rota_workers SET draining = true WHERE id = $1 AND gone_at IS NULL;

-- name: bury_worker
UPDATE rota_workers SET gone_at = $1, gone_why = $2 WHERE id = $3 AND gone_at IS NULL;

-- name: expired_workers
SELECT id FROM rota_workers WHERE gone_at IS NULL AND lease_until <= $1 ORDER BY lease_until LIMIT $2;

-- name: forget_workers
DELETE FROM rota_workers WHERE gone_at IS NOT NULL AND gone_at < $1;

-- name: put_handler
INSERT INTO rota_handlers (name, spec, seen_at) SELECT u.name, u.spec, $3 FROM unnest($1::text::text[], $2::text::text[]) AS u(name, spec)
ON CONFLICT (name) DO UPDATE SET spec = excluded.spec, seen_at = excluded.seen_at;

-- name: handlers
SELECT name, spec, seen_at FROM rota_handlers ORDER BY name;
