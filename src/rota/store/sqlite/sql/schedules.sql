-- name: insert_schedule
INSERT INTO rota_schedules (id, name, owner, rule, timezone, job, missed, missed_limit, overlap, jitter_s, starts_at, ends_at,
  paused_at, seen, next_at, waiting, zone_mark, created_at, updated_at, revision, origin, deployed)
VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?);

-- name: update_schedule
UPDATE rota_schedules SET name = ?, owner = ?, rule = ?, timezone = ?, job = ?, missed = ?, missed_limit = ?, overlap = ?,
  jitter_s = ?, starts_at = ?, ends_at = ?, paused_at = ?, seen = ?, next_at = ?, waiting = ?, zone_mark = ?, created_at = ?,
  updated_at = ?, revision = ?, origin = ?, deployed = ?
WHERE id = ?;

-- What a look at a schedule changes.
-- name: move_schedules
UPDATE rota_schedules SET seen = ?, next_at = ?, waiting = ?, zone_mark = ? WHERE id = ?;

-- name: delete_schedule
DELETE FROM rota_schedules WHERE id = ?;

-- name: get_schedules
SELECT s.id, name, owner, rule, timezone, job, missed, missed_limit, overlap, jitter_s, starts_at, ends_at, paused_at, seen,
  next_at, waiting, zone_mark, created_at, updated_at, revision, origin, deployed
FROM json_each(?) CROSS JOIN rota_schedules s ON s.id = json_each.value;

-- name: schedules_named
SELECT id FROM rota_schedules WHERE name = ? ORDER BY owner LIMIT ?;

-- name: schedule_named
SELECT id FROM rota_schedules WHERE name = ? AND owner = ?;

-- name: schedules_after
SELECT id FROM rota_schedules WHERE id > ? ORDER BY id LIMIT ?;

-- name: schedules_of
SELECT id FROM rota_schedules WHERE owner = ? AND id > ? ORDER BY id LIMIT ?;

-- name: next_schedules
SELECT id, name, rule, timezone, next_at FROM rota_schedules INDEXED BY rota_schedules_next WHERE next_at IS NOT NULL ORDER BY next_at, id LIMIT ?;

-- name: due_schedules
SELECT id FROM rota_schedules INDEXED BY rota_schedules_next WHERE next_at IS NOT NULL AND next_at <= ? ORDER BY next_at, id LIMIT ?;

-- Those whose slot waits for a job that is over.
-- name: free_schedules
SELECT id FROM rota_schedules s INDEXED BY rota_schedules_waiting WHERE waiting IS NOT NULL AND NOT EXISTS (
  SELECT 1 FROM rota_firings f INDEXED BY rota_firings_open JOIN rota_jobs j ON j.id = f.job
  WHERE f.open = 1 AND f.schedule = s.id AND j.state IN ('blocked', 'scheduled', 'queued', 'running'))
ORDER BY id LIMIT ?;

-- Those whose slots are decided up to a time that is yet to come: the clock was set back.
-- name: schedules_ahead
SELECT id FROM rota_schedules WHERE seen > ? ORDER BY id LIMIT ?;

-- name: next_slot
SELECT next_at FROM rota_schedules INDEXED BY rota_schedules_next WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1;

-- name: any_waiting
SELECT 1 FROM rota_schedules INDEXED BY rota_schedules_waiting WHERE waiting IS NOT NULL LIMIT 1;

-- Not by a comparison of rows: SQLite would begin at what is equal, and go over all schedules of the mark before.
-- name: next_zone_mark
SELECT * FROM (SELECT timezone, zone_mark FROM rota_schedules INDEXED BY rota_schedules_zone
  WHERE next_at IS NOT NULL AND timezone = ? AND zone_mark > ? ORDER BY zone_mark LIMIT 1)
UNION ALL
SELECT * FROM (SELECT timezone, zone_mark FROM rota_schedules INDEXED BY rota_schedules_zone
  WHERE next_at IS NOT NULL AND timezone > ? ORDER BY timezone, zone_mark LIMIT 1)
LIMIT 1;

-- name: schedules_by_mark
SELECT id FROM rota_schedules INDEXED BY rota_schedules_zone WHERE next_at IS NOT NULL AND timezone = ? AND zone_mark = ? LIMIT ?;

-- name: fired_slots
SELECT f.schedule, f.slot FROM json_each(?) CROSS JOIN rota_firings f ON f.schedule = json_each.value ->> 0 AND f.slot = json_each.value ->> 1;

-- name: insert_firings
INSERT INTO rota_firings (schedule, slot, at, fate, job, why, manual, open) VALUES (?,?,?,?,?,?,?,?);

-- name: update_firings
UPDATE rota_firings SET at = ?, fate = ?, job = ?, why = ?, open = ? WHERE schedule = ? AND slot = ?;

-- name: firings_of
SELECT schedule, slot, at, fate, job, why, manual FROM rota_firings WHERE schedule = ? AND slot < ? ORDER BY slot DESC LIMIT ?;

-- name: open_firings
SELECT f.schedule, f.slot, f.job, j.state FROM rota_firings f INDEXED BY rota_firings_open LEFT JOIN rota_jobs j ON j.id = f.job
WHERE f.open = 1 AND f.schedule = ? ORDER BY f.slot;

-- name: close_firings
UPDATE rota_firings SET open = 0 WHERE schedule = ? AND slot = ?;

-- name: close_all_firings
UPDATE rota_firings INDEXED BY rota_firings_open SET open = 0 WHERE open = 1 AND schedule = ?;

-- name: forget_firings
DELETE FROM rota_firings WHERE (schedule, slot) IN
  (SELECT schedule, slot FROM rota_firings INDEXED BY rota_firings_at WHERE at < ? AND open = 0 ORDER BY at LIMIT ?) RETURNING 1;

-- name: append_schedule_change
INSERT INTO rota_schedule_history (schedule, revision, at, by, what, settings) VALUES (?,?,?,?,?,?);

-- name: schedule_changes
SELECT revision, at, by, what, settings FROM rota_schedule_history WHERE schedule = ? AND revision < ? ORDER BY revision DESC LIMIT ?;

-- name: schedules_of_origin
SELECT id FROM rota_schedules INDEXED BY rota_schedules_origin WHERE origin IS NOT NULL AND origin = ? ORDER BY id;

-- What is noted last is the newest, also when its transaction began before another one's, or the clock was set back.
-- name: put_deploy
INSERT INTO rota_deploys (origin, digest, at)
VALUES (?, ?, max(?, coalesce((SELECT max(at) + 1 FROM rota_deploys WHERE origin = ?), 0)))
ON CONFLICT (origin, digest) DO UPDATE SET at = excluded.at;

-- name: deploys_of
SELECT digest FROM rota_deploys WHERE origin = ? AND digest <> '' ORDER BY at DESC LIMIT ?;

-- name: delete_schedule_changes
DELETE FROM rota_schedule_history WHERE schedule = ?;
