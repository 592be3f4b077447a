-- Quotas of owners (core/quotas.py): what is kept for those that have one, by the transactions that change it: jobs that wait, and
-- the bytes of those that are not over.
CREATE TABLE rota_kept (
  owner    TEXT PRIMARY KEY,
  waiting  INTEGER NOT NULL,
  size     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_owners_quotas ON rota_owners (owner) WHERE max_waiting IS NOT NULL OR max_bytes IS NOT NULL;

-- Bytes that a job holds while it is not over. Those of before this step weigh nothing.
ALTER TABLE rota_jobs ADD COLUMN size INTEGER;
