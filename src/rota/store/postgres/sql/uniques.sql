-- The keys come sorted: whoever wants one that is being taken waits for it, and all wait in one order.
-- name: insert_unique
INSERT INTO rota_uniques (owner, key, job, until)
SELECT * FROM unnest($1::text::text[], $2::text::text[], $3::text::text[], $4::text::bigint[])
ON CONFLICT (owner, key) DO NOTHING RETURNING owner, key;

-- name: get_unique
SELECT k.* FROM unnest($1::text::text[], $2::text::text[]) AS u(owner, key)
CROSS JOIN LATERAL (SELECT owner, key, job, until FROM rota_uniques WHERE owner = u.owner AND key = u.key OFFSET 0 FOR NO KEY UPDATE) k;

-- name: put_unique
WITH u AS MATERIALIZED (
  SELECT u.*, k.tid FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::text::text[]) AS u(job, until, owner, key)
  CROSS JOIN LATERAL (SELECT ctid AS tid FROM rota_uniques WHERE owner = u.owner AND key = u.key OFFSET 0) k)
UPDATE rota_uniques AS k SET job = u.job, until = u.until FROM u WHERE k.ctid = u.tid;

-- What is being taken over is left alone: it is another job's then.
-- name: delete_uniques_of
DELETE FROM rota_uniques WHERE ctid = ANY(ARRAY(
  SELECT k.tid FROM unnest($1::text[]) AS u(job)
  CROSS JOIN LATERAL (SELECT ctid AS tid FROM rota_uniques WHERE job = u.job AND until IS NULL OFFSET 0 FOR UPDATE SKIP LOCKED) k));

-- name: forget_uniques
DELETE FROM rota_uniques WHERE ctid = ANY(ARRAY(
  SELECT ctid FROM rota_uniques WHERE until IS NOT NULL AND until <= $1 ORDER BY until LIMIT $2 FOR UPDATE SKIP LOCKED)) RETURNING 1;
