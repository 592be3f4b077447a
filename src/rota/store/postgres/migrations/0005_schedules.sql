-- expand
-- Schedules: `next_at` is null while there is no slot to come, or none is wanted.
CREATE TABLE rota_schedules (
  id            text COLLATE "C" PRIMARY KEY,
  name          text COLLATE "C" NOT NULL,
  owner         text COLLATE "C" NOT NULL,
  rule          text NOT NULL,
  timezone      text NOT NULL,
  job           text NOT NULL,
  missed        text NOT NULL CHECK (missed IN ('skip', 'once', 'all')),
  missed_limit  bigint NOT NULL CHECK (missed_limit > 0),
  overlap       text NOT NULL CHECK (overlap IN ('allow', 'skip', 'queue', 'abort')),
  jitter_s      double precision NOT NULL CHECK (jitter_s >= 0),
  starts_at     bigint,
  ends_at       bigint,
  paused_at     bigint,
  seen          bigint NOT NULL,
  next_at       bigint,
  waiting       bigint,
  zone_mark     text NOT NULL,
  created_at    bigint NOT NULL,
  updated_at    bigint NOT NULL,
  revision      bigint NOT NULL,
  UNIQUE (name, owner),
  CHECK (paused_at IS NULL OR (next_at IS NULL AND waiting IS NULL))
);
CREATE INDEX rota_schedules_next ON rota_schedules (next_at, id) WHERE next_at IS NOT NULL;
CREATE INDEX rota_schedules_waiting ON rota_schedules (id) WHERE waiting IS NOT NULL;
CREATE INDEX rota_schedules_owner ON rota_schedules (owner, id);
CREATE INDEX rota_schedules_zone ON rota_schedules (timezone, zone_mark) WHERE next_at IS NOT NULL;

-- What became of slots. The key is what makes a slot fire once; `open` says that its job may not be over.
CREATE TABLE rota_firings (
  schedule  text COLLATE "C" NOT NULL,
  slot      bigint NOT NULL,
  at        bigint NOT NULL,
  fate      text NOT NULL CHECK (fate IN ('submitted', 'waiting', 'skipped', 'missed', 'refused')),
  job       text,
  why       text,
  manual    bigint NOT NULL,
  open      bigint NOT NULL,
  PRIMARY KEY (schedule, slot)
);
CREATE INDEX rota_firings_open ON rota_firings (schedule, slot) WHERE open = 1;
CREATE INDEX rota_firings_at ON rota_firings (at);

-- Every change of a schedule: what it was from then on.
CREATE TABLE rota_schedule_history (
  schedule  text COLLATE "C" NOT NULL,
  revision  bigint NOT NULL,
  at        bigint NOT NULL,
  by        text,
  what      text NOT NULL,
  settings  text NOT NULL,
  PRIMARY KEY (schedule, revision)
);
