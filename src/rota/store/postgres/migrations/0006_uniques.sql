-- expand
-- Unique keys: the job that has one, and until when; NULL: while it is not over.
ALTER TABLE rota_jobs ADD COLUMN unique_key text;

CREATE TABLE rota_uniques (
  owner  text COLLATE "C" NOT NULL,
  key    text COLLATE "C" NOT NULL,
  job    text COLLATE "C" NOT NULL,
  until  bigint,
  PRIMARY KEY (owner, key)
) WITH (fillfactor = 80);
CREATE INDEX rota_uniques_job ON rota_uniques (job) WHERE until IS NULL;
CREATE INDEX rota_uniques_until ON rota_uniques (until) WHERE until IS NOT NULL;
