-- Unique keys: the job that has one, and until when; NULL: while it is not over.
ALTER TABLE rota_jobs ADD COLUMN unique_key TEXT;

CREATE TABLE rota_uniques (
  owner  TEXT NOT NULL,
  key    TEXT NOT NULL,
  job    TEXT NOT NULL,
  until  INTEGER,
  PRIMARY KEY (owner, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_uniques_job ON rota_uniques (job) WHERE until IS NULL;
CREATE INDEX rota_uniques_until ON rota_uniques (until) WHERE until IS NOT NULL;
