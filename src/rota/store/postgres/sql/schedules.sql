-- name: insert_schedule
INSERT INTO rota_schedules (id, name, owner, rule, timezone, job, missed, missed_limit, overlap, jitter_s, starts_at, ends_at,
  paused_at, seen, next_at, waiting, zone_mark, created_at, updated_at, revision, origin, deployed)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22);

-- name: update_schedule
UPDATE rota_schedules SET name = $1, owner = $2, rule = $3, timezone = $4, job = $5, missed = $6, missed_limit = $7,
  overlap = $8, jitter_s = $9, starts_at = $10, ends_at = $11, paused_at = $12, seen = $13, next_at = $14, waiting = $15,
  zone_mark = $16, created_at = $17, updated_at = $18, revision = $19, origin = $20, deployed = $21
WHERE id = $22;

-- What a look at a schedule changes. The rows are held.
-- name: move_schedules
WITH u AS MATERIALIZED (
  SELECT u.*, s.tid FROM unnest($1::text::bigint[], $2::text::bigint[], $3::text::bigint[], $4::text::text[], $5::text::text[]) AS u(seen, next_at, waiting, zone_mark, id)
  CROSS JOIN LATERAL (SELECT ctid AS tid, id FROM rota_schedules WHERE id = u.id OFFSET 0) s WHERE s.id = u.id)
UPDATE rota_schedules AS s SET seen = u.seen, next_at = u.next_at, waiting = u.waiting, zone_mark = u.zone_mark
FROM u WHERE s.ctid = u.tid;

-- name: delete_schedule
DELETE FROM rota_schedules WHERE id = $1;

-- name: get_schedules
SELECT s.* FROM unnest($1::text::text[]) AS u(id) CROSS JOIN LATERAL (
  SELECT id, name, owner, rule, timezone, job, missed, missed_limit, overlap, jitter_s, starts_at, ends_at, paused_at, seen,
    next_at, waiting, zone_mark, created_at, updated_at, revision, origin, deployed
  FROM rota_schedules WHERE id = u.id OFFSET 0) s;

-- name: lock_schedule
SELECT id FROM rota_schedules WHERE id = $1 FOR NO KEY UPDATE;

-- name: schedules_named
SELECT id FROM rota_schedules WHERE name = $1 ORDER BY owner LIMIT $2;

-- name: schedule_named
SELECT id FROM rota_schedules WHERE name = $1 AND owner = $2;

-- name: schedules_after
SELECT id FROM rota_schedules WHERE id > $1 ORDER BY id LIMIT $2;

-- name: schedules_of
SELECT id FROM rota_schedules WHERE owner = $1 AND id > $2 ORDER BY id LIMIT $3;

-- Those that somebody else holds are being decided by them.
-- name: next_schedules
SELECT id, name, rule, timezone, next_at FROM rota_schedules WHERE next_at IS NOT NULL ORDER BY next_at, id LIMIT $1;

-- name: due_schedules
SELECT id FROM rota_schedules WHERE next_at IS NOT NULL AND next_at <= $1 ORDER BY next_at, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED;

-- Those whose slot waits for a job that is over.
-- name: free_schedules
SELECT id FROM rota_schedules s WHERE waiting IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM rota_firings f CROSS JOIN LATERAL (SELECT state FROM rota_jobs WHERE id = f.job OFFSET 0) j
  WHERE f.open = 1 AND f.schedule = s.id AND j.state IN ('blocked', 'scheduled', 'queued', 'running') OFFSET 0)
ORDER BY id LIMIT $1 FOR NO KEY UPDATE OF s SKIP LOCKED;

-- Those whose slots are decided up to a time that is yet to come: the clock was set back.
-- name: schedules_ahead
SELECT id FROM rota_schedules WHERE seen > $1 ORDER BY id LIMIT $2 FOR NO KEY UPDATE;

-- name: next_zone_mark
SELECT timezone, zone_mark FROM rota_schedules
WHERE next_at IS NOT NULL AND (timezone, zone_mark) > ($1, $2) ORDER BY timezone, zone_mark LIMIT 1;

-- name: schedules_by_mark
SELECT id FROM rota_schedules WHERE next_at IS NOT NULL AND timezone = $1 AND zone_mark = $2 LIMIT $3 FOR NO KEY UPDATE SKIP LOCKED;

-- name: fired_slots
SELECT f.* FROM unnest($1::text::text[], $2::text::bigint[]) AS u(schedule, slot) CROSS JOIN LATERAL (
  SELECT schedule, slot FROM rota_firings WHERE schedule = u.schedule AND slot = u.slot OFFSET 0) f;

-- name: insert_firings
INSERT INTO rota_firings (schedule, slot, at, fate, job, why, manual, open)
SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::bigint[], $4::text::text[], $5::text::text[], $6::text::text[], $7::text::bigint[], $8::text::bigint[]);

-- name: update_firings
WITH u AS MATERIALIZED (
  SELECT u.*, f.tid FROM unnest($1::text::bigint[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::bigint[], $6::text::text[], $7::text::bigint[])
    AS u(at, fate, job, why, open, schedule, slot)
  CROSS JOIN LATERAL (
    SELECT ctid AS tid, schedule FROM rota_firings WHERE schedule = u.schedule AND slot = u.slot OFFSET 0) f
  WHERE f.schedule = u.schedule)
UPDATE rota_firings AS f SET at = u.at, fate = u.fate, job = u.job, why = u.why, open = u.open FROM u WHERE f.ctid = u.tid;

-- name: firings_of
SELECT schedule, slot, at, fate, job, why, manual FROM rota_firings WHERE schedule = $1 AND slot < $2 ORDER BY slot DESC LIMIT $3;

-- name: open_firings
SELECT f.schedule, f.slot, f.job, j.state FROM unnest($1::text::text[]) AS u(schedule)
CROSS JOIN LATERAL (SELECT schedule, slot, job FROM rota_firings WHERE open = 1 AND schedule = u.schedule ORDER BY slot OFFSET 0) f
LEFT JOIN LATERAL (SELECT state FROM rota_jobs WHERE id = f.job OFFSET 0) j ON true;

-- name: close_firings
WITH u AS MATERIALIZED (
  SELECT f.tid FROM unnest($1::text::text[], $2::text::bigint[]) AS u(schedule, slot)
  CROSS JOIN LATERAL (
    SELECT ctid AS tid, schedule FROM rota_firings WHERE schedule = u.schedule AND slot = u.slot OFFSET 0) f
  WHERE f.schedule = u.schedule)
UPDATE rota_firings AS f SET open = 0 FROM u WHERE f.ctid = u.tid;

-- name: close_all_firings
UPDATE rota_firings SET open = 0 WHERE open = 1 AND schedule = $1;

-- name: forget_firings
DELETE FROM rota_firings WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM rota_firings WHERE at < $1 AND open = 0 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1;

-- name: append_schedule_change
INSERT INTO rota_schedule_history (schedule, revision, at, by, what, settings) VALUES ($1, $2, $3, $4, $5, $6);

-- name: schedule_changes
SELECT revision, at, by, what, settings FROM rota_schedule_history WHERE schedule = $1 AND revision < $2 ORDER BY revision DESC LIMIT $3;

-- name: schedules_of_origin
SELECT id FROM rota_schedules WHERE origin IS NOT NULL AND origin = $1 ORDER BY id FOR NO KEY UPDATE;

-- What is noted last is the newest, also when its transaction began before another one's, or the clock was set back.
-- name: put_deploy
INSERT INTO rota_deploys (origin, digest, at)
VALUES ($1, $2, greatest($3, (SELECT max(at) + 1 FROM rota_deploys WHERE origin = $1)))
ON CONFLICT (origin, digest) DO UPDATE SET at = excluded.at;

-- name: deploys_of
SELECT digest FROM rota_deploys WHERE origin = $1 AND digest <> '' ORDER BY at DESC LIMIT $2;

-- name: delete_schedule_changes
DELETE FROM rota_schedule_history WHERE schedule = $1;
