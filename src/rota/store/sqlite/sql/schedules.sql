-- name: insert_schedule
INSERT INTO rota_schedules (id, name, owner, rule, timezone, job, missed, missed_limit, overlap, jitter_s, starts_at, ends_at, paused_at,
  seen, next_at, waiting, zone_mark, created_at, updated_at, revision) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?);

-- name: update_schedule
UPDATE rota_schedules SET name = ?2, rule = ?4, timezone = ?5, job = ?6, missed = ?7, missed_limit = ?8, overlap = ?9, jitter_s = ?10,
  starts_at = ?11, ends_at = ?12, paused_at = ?13, seen = ?14, next_at = ?15, waiting = ?16, zone_mark = ?17, updated_at = ?19, revision = ?20
WHERE id = ?1;

-- name: move_schedules
UPDATE rota_schedules SET seen = ?2, next_at = ?3, waiting = ?4, zone_mark = ?5 WHERE id = ?1;

-- name: delete_schedule
DELETE FROM rota_schedules WHERE id = ?;

-- name: delete_firings
DELETE FROM rota_firings WHERE schedule = ?;

-- name: delete_schedule_history
DELETE FROM rota_schedule_history WHERE schedule = ?;

-- name: get_schedule
SELECT id, name, owner, rule, timezone, job, missed, missed_limit, overlap, jitter_s, starts_at, ends_at, paused_at, seen, next_at, waiting,
  zone_mark, created_at, updated_at, revision FROM rota_schedules WHERE id = ?;

-- name: find_schedule
SELECT id FROM rota_schedules WHERE name = ?;

-- name: schedules
SELECT id FROM rota_schedules WHERE name > ? ORDER BY name LIMIT ?;

-- name: schedules_of
SELECT id FROM rota_schedules WHERE owner = ? AND name > ? ORDER BY name LIMIT ?;

-- name: due_schedules
SELECT id FROM rota_schedules INDEXED BY rota_schedules_next WHERE next_at IS NOT NULL AND next_at <= ? ORDER BY next_at, id LIMIT ?;

-- name: waiting_schedules
SELECT id FROM rota_schedules INDEXED BY rota_schedules_waiting WHERE waiting IS NOT NULL AND id > ? ORDER BY id LIMIT ?;

-- name: next_slot
SELECT next_at FROM rota_schedules INDEXED BY rota_schedules_next WHERE next_at IS NOT NULL ORDER BY next_at LIMIT 1;

-- name: any_waiting
SELECT 1 FROM rota_schedules INDEXED BY rota_schedules_waiting WHERE waiting IS NOT NULL LIMIT 1;

-- name: zone_marks
SELECT DISTINCT timezone, zone_mark FROM rota_schedules INDEXED BY rota_schedules_zone WHERE next_at IS NOT NULL;

-- name: schedules_by_mark
SELECT id FROM rota_schedules INDEXED BY rota_schedules_zone WHERE next_at IS NOT NULL AND timezone = ? AND zone_mark = ? LIMIT ?;

-- name: insert_firings
INSERT INTO rota_firings (schedule, slot, at, fate, job, why, manual, open) VALUES (?,?,?,?,?,?,?,?);

-- name: firing_exists
SELECT 1 FROM rota_firings WHERE schedule = ? AND slot = ?;

-- name: update_firing
UPDATE rota_firings SET at = ?3, fate = ?4, job = ?5, why = ?6, manual = ?7, open = ?8 WHERE schedule = ?1 AND slot = ?2;

-- name: firings_of
SELECT schedule, slot, at, fate, job, why, manual FROM rota_firings WHERE schedule = ? AND slot < ? ORDER BY slot DESC LIMIT ?;

-- name: open_firings
SELECT f.slot, f.job, j.state FROM rota_firings f INDEXED BY rota_firings_open LEFT JOIN rota_jobs j ON j.id = f.job
WHERE f.open = 1 AND f.schedule = ? ORDER BY f.slot;

-- name: close_firings
UPDATE rota_firings SET open = 0 WHERE schedule = ? AND slot = ?;

-- name: forget_firings
DELETE FROM rota_firings WHERE (schedule, slot) IN
  (SELECT schedule, slot FROM rota_firings INDEXED BY rota_firings_at WHERE at < ? ORDER BY at LIMIT ?);

-- name: append_schedule_history
INSERT INTO rota_schedule_history (schedule, revision, at, by, what, settings) VALUES (?,?,?,?,?,?);

-- name: schedule_history
SELECT revision, at, by, what, settings FROM rota_schedule_history WHERE schedule = ? AND revision < ? ORDER BY revision DESC LIMIT ?;
