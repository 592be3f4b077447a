-- Whose turn it is (core/fairness.py): a row for each that has, or lately had, ready jobs. `full`: a limit is used up.
-- `served_at` is when something was last started from it, or when it became ready.
CREATE TABLE rota_turns (
  queue      TEXT NOT NULL,
  priority   INTEGER NOT NULL,
  owner      TEXT NOT NULL,
  lane       TEXT NOT NULL,
  turn       INTEGER NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('ready', 'empty', 'full')),
  served_at  INTEGER NOT NULL,
  PRIMARY KEY (queue, priority, owner, lane)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_turns_ready ON rota_turns (queue, lane, priority DESC, turn, served_at) WHERE state = 'ready';
CREATE INDEX rota_turns_served ON rota_turns (queue, lane, served_at) WHERE state = 'ready';
CREATE INDEX rota_turns_empty ON rota_turns (served_at) WHERE state = 'empty';

-- The virtual time of the start that came last.
CREATE TABLE rota_clocks (
  queue     TEXT NOT NULL,
  priority  INTEGER NOT NULL,
  clock     INTEGER NOT NULL,
  PRIMARY KEY (queue, priority)
) STRICT, WITHOUT ROWID;

-- What was set for an owner; who is not here has weight 1 and no limits.
CREATE TABLE rota_owners (
  owner         TEXT PRIMARY KEY,
  weight        REAL NOT NULL DEFAULT 1 CHECK (weight BETWEEN 0.001 AND 1000),
  max_priority  INTEGER,
  max_waiting   INTEGER CHECK (max_waiting >= 0),
  max_running   INTEGER CHECK (max_running >= 0),
  max_bytes     INTEGER CHECK (max_bytes >= 0)
) STRICT, WITHOUT ROWID;

-- For how long owners have used slots, by the minute of the end, in microseconds; the owner '' is all of them together.
CREATE TABLE rota_usage (
  owner   TEXT NOT NULL,
  minute  INTEGER NOT NULL,
  used    INTEGER NOT NULL,
  PRIMARY KEY (owner, minute)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_usage_minute ON rota_usage (minute);

-- What may be claimed, row by row, the oldest first.
DROP INDEX rota_jobs_ready;
CREATE INDEX rota_jobs_ready ON rota_jobs (queue, lane, owner, priority, run_at, id) WHERE state = 'queued' OR open = 1;

INSERT INTO rota_turns (queue, priority, owner, lane, turn, state, served_at)
SELECT queue, priority, owner, lane, 0, 'ready', min(run_at) FROM rota_jobs WHERE state = 'queued' OR open = 1
GROUP BY queue, priority, owner, lane;
