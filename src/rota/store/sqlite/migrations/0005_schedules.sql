-- Schedules: `next_at` is null while there is no slot to come, or none is wanted.
CREATE TABLE rota_schedules (
  id            TEXT PRIMARY KEY,
  name          TEXT NOT NULL,
  owner         TEXT NOT NULL,
  rule          TEXT NOT NULL,
  timezone      TEXT NOT NULL,
  job           TEXT NOT NULL,
  missed        TEXT NOT NULL CHECK (missed IN ('skip', 'once', 'all')),
  missed_limit  INTEGER NOT NULL CHECK (missed_limit > 0),
  overlap       TEXT NOT NULL CHECK (overlap IN ('allow', 'skip', 'queue', 'abort')),
  jitter_s      REAL NOT NULL CHECK (jitter_s >= 0),
  starts_at     INTEGER,
  ends_at       INTEGER,
  paused_at     INTEGER,
  seen          INTEGER NOT NULL,
  next_at       INTEGER,
  waiting       INTEGER,
  zone_mark     TEXT NOT NULL,
  created_at    INTEGER NOT NULL,
  updated_at    INTEGER NOT NULL,
  revision      INTEGER NOT NULL,
  UNIQUE (name, owner),
  CHECK (paused_at IS NULL OR (next_at IS NULL AND waiting IS NULL))
) STRICT;
CREATE INDEX rota_schedules_next ON rota_schedules (next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX rota_schedules_waiting ON rota_schedules (id) WHERE waiting IS NOT NULL;
CREATE INDEX rota_schedules_owner ON rota_schedules (owner, id);
CREATE INDEX rota_schedules_zone ON rota_schedules (timezone, zone_mark) WHERE next_at IS NOT NULL;

-- What became of slots. The key is what makes a slot fire once; `open` says that its job may not be over.
CREATE TABLE rota_firings (
  schedule  TEXT NOT NULL,
  slot      INTEGER NOT NULL,
  at        INTEGER NOT NULL,
  fate      TEXT NOT NULL CHECK (fate IN ('submitted', 'waiting', 'skipped', 'missed', 'refused')),
  job       TEXT,
  why       TEXT,
  manual    INTEGER NOT NULL,
  open      INTEGER NOT NULL,
  PRIMARY KEY (schedule, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_firings_open ON rota_firings (schedule, slot) WHERE open = 1;
CREATE INDEX rota_firings_at ON rota_firings (at);

-- Every change of a schedule: what it was from then on.
CREATE TABLE rota_schedule_history (
  schedule  TEXT NOT NULL,
  revision  INTEGER NOT NULL,
  at        INTEGER NOT NULL,
  by        TEXT,
  what      TEXT NOT NULL,
  settings  TEXT NOT NULL,
  PRIMARY KEY (schedule, revision)
) STRICT, WITHOUT ROWID;
