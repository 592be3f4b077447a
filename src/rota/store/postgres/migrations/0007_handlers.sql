-- expand
-- What an attempt left for the next one: the newest of each job. A table of its own, for a row of a job is written often.
CREATE TABLE rota_checkpoints (
  job      text COLLATE "C" PRIMARY KEY,
  attempt  bigint NOT NULL,
  at       bigint NOT NULL,
  value    text NOT NULL
);

-- What handlers take, by the versions of their code; workers and handlers name a version.
CREATE TABLE rota_signatures (
  handler  text COLLATE "C" NOT NULL,
  version  text COLLATE "C" NOT NULL,
  seen_at  bigint NOT NULL,
  schema   text NOT NULL,
  PRIMARY KEY (handler, version)
);
CREATE INDEX rota_signatures_seen ON rota_signatures (handler, seen_at);
