-- What an attempt left for the next one: the newest of each job. A table of its own, for a row of a job is written often.
CREATE TABLE rota_checkpoints (
  job      TEXT PRIMARY KEY,
  attempt  INTEGER NOT NULL,
  at       INTEGER NOT NULL,
  value    TEXT NOT NULL
) STRICT;

-- What handlers take, by the versions of their code; workers and handlers name a version.
CREATE TABLE rota_signatures (
  handler  TEXT NOT NULL,
  version  TEXT NOT NULL,
  seen_at  INTEGER NOT NULL,
  schema   TEXT NOT NULL,
  PRIMARY KEY (handler, version)
) STRICT;
CREATE INDEX rota_signatures_seen ON rota_signatures (handler, seen_at);
