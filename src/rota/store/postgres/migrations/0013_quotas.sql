-- expand
-- Quotas of owners (core/quotas.py): what is kept for those that have one, by the transactions that change it: jobs that wait, and
-- the bytes of those that are not over. Each number is the sum of its parts, as in rota_counts. Servers of before this step do not
-- write it: a quota that was set beside one is set again after the upgrade, and then all is counted anew.
CREATE TABLE rota_kept (
  owner    text COLLATE "C" NOT NULL,
  part     integer NOT NULL,
  waiting  bigint NOT NULL,
  size     bigint NOT NULL,
  PRIMARY KEY (owner, part)
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.5, autovacuum_vacuum_cost_delay = 0);

-- Bytes that a job holds while it is not over. Those of before this step weigh nothing.
ALTER TABLE rota_jobs ADD COLUMN size bigint;
