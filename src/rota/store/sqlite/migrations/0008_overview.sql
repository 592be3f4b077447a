-- What a dashboard shows: sums over time, what failed lately, who ran what when.

-- What each server has seen in each minute (step 60) or hour (step 3600) of a queue; queue '' is all of them.
CREATE TABLE rota_series (
  step    INTEGER NOT NULL,
  queue   TEXT NOT NULL,
  at      INTEGER NOT NULL,
  server  TEXT NOT NULL,
  sums    TEXT NOT NULL,
  PRIMARY KEY (step, queue, at, server)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_series_at ON rota_series (step, at);

-- None of these has an entry for a job that succeeds at once: they cost such jobs nothing.
CREATE INDEX rota_attempts_bad ON rota_attempts (finished_at) WHERE outcome <> 'succeeded';
CREATE INDEX rota_attempts_shards ON rota_attempts (finished_at) WHERE outcome = 'succeeded' AND first IS NOT NULL;
CREATE INDEX rota_jobs_failed_arrays ON rota_jobs (finished_at) WHERE state = 'failed' AND inputs IS NOT NULL;
CREATE INDEX rota_jobs_error ON rota_jobs (id) WHERE error IS NOT NULL;
