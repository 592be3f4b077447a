-- INDEXED BY: see jobs.sql.

-- The rows of a lane whose turn it is, the first ones; but for those of some owners.
-- name: turns
SELECT t.priority, t.owner, t.turn, coalesce(c.clock, 0), coalesce(o.weight, 1), t.served_at, o.max_running, coalesce(q.weight, 1)
FROM rota_turns t INDEXED BY rota_turns_ready
LEFT JOIN rota_clocks c ON c.queue = t.queue AND c.priority = t.priority LEFT JOIN rota_owners o ON o.owner = t.owner
LEFT JOIN rota_queues q ON q.queue = t.queue
WHERE t.queue = ? AND t.lane = ? AND t.state = 'ready'
  AND t.owner NOT IN (SELECT value FROM json_each(?)) ORDER BY t.priority DESC, t.turn, t.served_at LIMIT ?;

-- The rows of a lane that were served longest ago.
-- name: oldest_turns
SELECT t.priority, t.owner, t.turn, coalesce(c.clock, 0), coalesce(o.weight, 1), t.served_at, o.max_running, coalesce(q.weight, 1)
FROM rota_turns t INDEXED BY rota_turns_served
LEFT JOIN rota_clocks c ON c.queue = t.queue AND c.priority = t.priority LEFT JOIN rota_owners o ON o.owner = t.owner
LEFT JOIN rota_queues q ON q.queue = t.queue
WHERE t.queue = ? AND t.lane = ? AND t.state = 'ready' AND t.served_at < ? ORDER BY t.served_at LIMIT ?;

-- The first jobs of a row.
-- name: ready_heads
SELECT run_at, id FROM rota_jobs INDEXED BY rota_jobs_ready WHERE (state = 'queued' OR open = 1) AND queue = ? AND lane = ? AND owner = ?
  AND priority = ? ORDER BY run_at, id LIMIT ?;

-- The same, with their keys, which are not in the index: where keys have limits.
-- name: ready_heads_keyed
SELECT run_at, id, limit_key FROM rota_jobs INDEXED BY rota_jobs_ready WHERE (state = 'queued' OR open = 1) AND queue = ? AND lane = ? AND owner = ?
  AND priority = ? ORDER BY run_at, id LIMIT ?;

-- How many jobs of a row come before one, counted up to a limit.
-- name: ready_before
SELECT count(*) FROM (SELECT 1 FROM rota_jobs INDEXED BY rota_jobs_ready WHERE (state = 'queued' OR open = 1) AND queue = ? AND lane = ? AND owner = ?
  AND priority = ? AND (run_at, id) < (?, ?) LIMIT ?);

-- name: is_in_turn
SELECT 1 FROM rota_turns WHERE queue = ? AND priority = ? AND owner = ? AND lane = ? AND state <> 'empty';

-- Who comes new, or again, is due at the clock, or at its own turn if that is later.
-- name: put_turns
INSERT INTO rota_turns (queue, priority, owner, lane, turn, state, served_at)
VALUES (:queue, :priority, :owner, :lane, max(
  coalesce((SELECT clock FROM rota_clocks WHERE queue = :queue AND priority = :priority), 0),
  coalesce((SELECT max(turn) FROM rota_turns WHERE queue = :queue AND priority = :priority AND owner = :owner), 0)), 'ready', :now)
ON CONFLICT (queue, priority, owner, lane) DO UPDATE SET state = 'ready', turn = max(turn, excluded.turn), served_at = excluded.served_at
WHERE state = 'empty';

-- name: charge_turns
UPDATE rota_turns SET turn = max(turn + :owed, :due) + :units, served_at = CASE WHEN lane = :lane THEN :now ELSE served_at END
WHERE queue = :queue AND priority = :priority AND owner = :owner;

-- Of further lanes that something was started from.
-- name: note_served
UPDATE rota_turns SET served_at = ? WHERE queue = ? AND priority = ? AND owner = ? AND lane = ?;

-- name: set_clock
INSERT INTO rota_clocks (queue, priority, clock) VALUES (?, ?, ?)
ON CONFLICT (queue, priority) DO UPDATE SET clock = max(clock, excluded.clock);

-- A row without a ready job is in nobody's way.
-- name: empty_turns
UPDATE rota_turns SET state = 'empty' WHERE queue = :queue AND priority = :priority AND owner = :owner AND lane = :lane
  AND state = 'ready' AND NOT EXISTS (
    SELECT 1 FROM rota_jobs INDEXED BY rota_jobs_ready WHERE (rota_jobs.state = 'queued' OR open = 1) AND rota_jobs.queue = :queue
      AND rota_jobs.lane = :lane AND rota_jobs.owner = :owner AND rota_jobs.priority = :priority);

-- An empty row says nothing more once the clock has passed its turn.
-- name: forget_turns
DELETE FROM rota_turns WHERE (queue, priority, owner, lane) IN (
  SELECT queue, priority, owner, lane FROM rota_turns INDEXED BY rota_turns_empty WHERE state = 'empty' ORDER BY served_at LIMIT ?)
AND (served_at < ? OR turn <= coalesce((SELECT clock FROM rota_clocks c WHERE c.queue = rota_turns.queue AND c.priority = rota_turns.priority), 0));

-- The next row that there ought to be, by the ready jobs themselves; asked again from what it returns.
-- SQLite begins to look at what is equal: with the last `run_at` there is, behind all jobs of the row before.
-- name: next_ready
SELECT queue, lane, owner, priority FROM rota_jobs INDEXED BY rota_jobs_ready WHERE (state = 'queued' OR open = 1)
  AND (queue, lane, owner, priority, run_at) > (?, ?, ?, ?, 9223372036854775807) ORDER BY queue, lane, owner, priority LIMIT 1;
