-- Limits of keys (core/keys.py). SQLite cannot change a CHECK: the table is made anew.
CREATE TABLE rota_limits_2 (
  kind         TEXT NOT NULL CHECK (kind IN ('queue', 'handler', 'key')),
  name         TEXT NOT NULL,
  concurrency  INTEGER CHECK (concurrency >= 0),
  starts       INTEGER CHECK (starts > 0),
  period       INTEGER CHECK (period > 0),
  burst        INTEGER CHECK (burst > 0),
  declared     INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, name),
  CHECK ((starts IS NULL) = (period IS NULL) AND (starts IS NULL) = (burst IS NULL))
) STRICT, WITHOUT ROWID;
INSERT INTO rota_limits_2 SELECT kind, name, concurrency, starts, period, burst, declared FROM rota_limits;
DROP TABLE rota_limits;
ALTER TABLE rota_limits_2 RENAME TO rota_limits;

-- There may be as many buckets as keys: those that are full again are removed.
CREATE INDEX rota_buckets_full ON rota_buckets (full_at) WHERE kind = 'key';

-- What a job is limited by together with others; how many slots of its worker it takes (NULL: one).
ALTER TABLE rota_jobs ADD COLUMN limit_key TEXT;
ALTER TABLE rota_jobs ADD COLUMN slots INTEGER CHECK (slots > 1);
CREATE INDEX rota_jobs_keys ON rota_jobs (limit_key, state, queue, lane) WHERE limit_key IS NOT NULL AND finished_at IS NULL;
-- Queued jobs that no claim looks at, because their key is full: their lane has a mark before it.
CREATE INDEX rota_jobs_held ON rota_jobs (limit_key, queue, lane, owner, priority, run_at, id)
  WHERE limit_key IS NOT NULL AND state = 'queued' AND substr(lane, 1, 5) = 'held:';
