-- Queues that were paused, and what queues and handlers may use (core/limits.py): at once, and in a period (microseconds).
CREATE TABLE rota_queues (
  queue      TEXT PRIMARY KEY,
  paused_at  INTEGER,
  paused_by  TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE rota_limits (
  kind         TEXT NOT NULL CHECK (kind IN ('queue', 'handler')),
  name         TEXT NOT NULL,
  concurrency  INTEGER CHECK (concurrency >= 0),
  starts       INTEGER CHECK (starts > 0),
  period       INTEGER CHECK (period > 0),
  burst        INTEGER CHECK (burst > 0),
  declared     INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (kind, name),
  CHECK ((starts IS NULL) = (period IS NULL) AND (starts IS NULL) = (burst IS NULL))
) STRICT, WITHOUT ROWID;

-- When the bucket of a rate will be full again.
CREATE TABLE rota_buckets (
  kind     TEXT NOT NULL,
  name     TEXT NOT NULL,
  full_at  INTEGER NOT NULL,
  PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- What is in use is counted from the jobs that run.
CREATE INDEX rota_jobs_uses ON rota_jobs (queue, lane, owner) WHERE state = 'running';

-- Labels that a job's worker must have, as JSON.
ALTER TABLE rota_jobs ADD COLUMN needs TEXT;
