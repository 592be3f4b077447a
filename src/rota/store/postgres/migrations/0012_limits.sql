-- expand
-- Queues that were paused, and what queues and handlers may use (core/limits.py): at once, and in a period (microseconds).
CREATE TABLE rota_queues (
  queue      text COLLATE "C" PRIMARY KEY,
  paused_at  bigint,
  paused_by  text
);

CREATE TABLE rota_limits (
  kind         text COLLATE "C" NOT NULL CHECK (kind IN ('queue', 'handler')),
  name         text COLLATE "C" NOT NULL,
  concurrency  bigint CHECK (concurrency >= 0),
  starts       bigint CHECK (starts > 0),
  period       bigint CHECK (period > 0),
  burst        bigint CHECK (burst > 0),
  declared     boolean NOT NULL DEFAULT false,
  PRIMARY KEY (kind, name),
  CHECK ((starts IS NULL) = (period IS NULL) AND (starts IS NULL) = (burst IS NULL))
);

-- When the bucket of a rate will be full again.
CREATE TABLE rota_buckets (
  kind     text COLLATE "C" NOT NULL,
  name     text COLLATE "C" NOT NULL,
  full_at  bigint NOT NULL,
  PRIMARY KEY (kind, name)
) WITH (fillfactor = 50);

-- What is in use is counted from the jobs that run.
CREATE INDEX rota_jobs_uses ON rota_jobs (queue, lane, owner) WHERE state = 'running';

-- Labels that a job's worker must have, as JSON.
ALTER TABLE rota_jobs ADD COLUMN needs text;
