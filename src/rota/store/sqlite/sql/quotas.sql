-- name: any_quota
SELECT 1 FROM rota_owners INDEXED BY rota_owners_quotas WHERE max_waiting IS NOT NULL OR max_bytes IS NOT NULL LIMIT 1;

-- name: get_quotas
SELECT owner, weight, max_priority, max_waiting, max_running, max_bytes FROM rota_owners
WHERE owner = ? AND (max_waiting IS NOT NULL OR max_bytes IS NOT NULL);

-- name: get_kept
SELECT waiting, size FROM rota_kept WHERE owner = ?;

-- name: add_kept
INSERT INTO rota_kept (waiting, size, owner) SELECT :waiting, :size, :owner
WHERE EXISTS (SELECT 1 FROM rota_owners WHERE owner = :owner AND (max_waiting IS NOT NULL OR max_bytes IS NOT NULL))
ON CONFLICT (owner) DO UPDATE SET waiting = waiting + excluded.waiting, size = size + excluded.size;

-- name: delete_kept
DELETE FROM rota_kept WHERE owner = ?;

-- Counted anew, by the jobs themselves.
-- name: count_kept
INSERT INTO rota_kept (owner, waiting, size)
SELECT :owner, coalesce(sum(state <> 'running'), 0), coalesce(sum(size), 0) FROM rota_jobs INDEXED BY rota_jobs_state
WHERE state IN ('blocked', 'scheduled', 'queued', 'running') AND owner = :owner;

-- What may run of an owner, and what does: of an array each shard counts.
-- name: get_max_running
SELECT max_running FROM rota_owners WHERE owner = ? AND max_running IS NOT NULL;
-- name: owner_running
SELECT count(*) FROM rota_jobs INDEXED BY rota_jobs_uses WHERE state = 'running' AND queue = ? AND lane = ? AND owner = ?;
-- name: owner_shards
SELECT coalesce(sum(a.live), 0) FROM rota_jobs j INDEXED BY rota_jobs_uses CROSS JOIN rota_arrays a ON a.job = j.id
WHERE j.state = 'running' AND j.queue = ? AND j.lane = ? AND j.owner = ?;
