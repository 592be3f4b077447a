-- The first schema. All names begin with rota_: the tables may share a file with an application's own.
-- CHECKs restate the state machine of core/states.py: a bug above cannot write an impossible row.

CREATE TABLE rota_jobs (
  id                 TEXT PRIMARY KEY,
  state              TEXT NOT NULL,
  kind               TEXT NOT NULL,
  lane               TEXT NOT NULL,
  handler            TEXT,
  script             TEXT,
  data               TEXT NOT NULL,
  args               TEXT NOT NULL,
  variables          TEXT,
  owner              TEXT NOT NULL,
  queue              TEXT NOT NULL,
  priority           INTEGER NOT NULL,
  labels             TEXT,
  waiting_for        INTEGER NOT NULL DEFAULT 0,
  run_at             INTEGER NOT NULL,
  submitted_at       INTEGER NOT NULL,
  started_at         INTEGER,
  finished_at        INTEGER,
  attempt            INTEGER NOT NULL DEFAULT 0,
  failures           INTEGER NOT NULL DEFAULT 0,
  crashes            INTEGER NOT NULL DEFAULT 0,
  max_failures       INTEGER CHECK (max_failures >= 1),
  timeout_s          REAL CHECK (timeout_s > 0),
  grace_s            REAL NOT NULL CHECK (grace_s >= 0),
  backoff            TEXT,
  worker             TEXT,
  deadline_at        INTEGER,
  lease_until        INTEGER,
  progress           TEXT,
  result             TEXT,
  error              TEXT,
  reason             TEXT,
  abort_requested_at INTEGER,
  confirmed          INTEGER,
  hook               TEXT,
  retry_of           TEXT,
  -- One CASE, the most frequent states first: as nine separate CHECKs the same cost a fifth of a job's whole cycle.
  CHECK (CASE state
    WHEN 'running' THEN worker IS NOT NULL AND started_at IS NOT NULL AND attempt > 0 AND finished_at IS NULL AND waiting_for = 0
    WHEN 'succeeded' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for = 0
    WHEN 'queued' THEN finished_at IS NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for = 0
    WHEN 'scheduled' THEN finished_at IS NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for = 0
    WHEN 'blocked' THEN finished_at IS NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for > 0
    WHEN 'failed' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND reason IS NOT NULL
    WHEN 'aborted' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NOT NULL AND confirmed IS NOT NULL
    WHEN 'canceled' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND reason IS NOT NULL
    ELSE 0 END),
  CHECK (CASE kind WHEN 'handler' THEN handler IS NOT NULL AND script IS NULL
                   WHEN 'script' THEN script IS NOT NULL AND handler IS NULL ELSE 0 END)
) STRICT;

-- What may be claimed, lane by lane, in the order in which it is claimed.
CREATE INDEX rota_jobs_ready ON rota_jobs (queue, lane, priority DESC, run_at, id) WHERE state = 'queued';
CREATE INDEX rota_jobs_due ON rota_jobs (run_at, id) WHERE state = 'scheduled';
CREATE INDEX rota_jobs_running ON rota_jobs (worker, id) WHERE state = 'running';
CREATE INDEX rota_jobs_deadline ON rota_jobs (deadline_at) WHERE state = 'running' AND deadline_at IS NOT NULL;
-- Leases with an end of their own: their worker's last heartbeat did not name them. Empty but for lost replies.
CREATE INDEX rota_jobs_unnamed ON rota_jobs (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX rota_jobs_over ON rota_jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX rota_jobs_state ON rota_jobs (state, id);
CREATE INDEX rota_jobs_owner ON rota_jobs (owner, id);
CREATE INDEX rota_jobs_queue ON rota_jobs (queue, id);
CREATE INDEX rota_jobs_handler ON rota_jobs (handler, id) WHERE handler IS NOT NULL;

CREATE TABLE rota_labels (
  name   TEXT NOT NULL,
  value  TEXT NOT NULL,
  job    TEXT NOT NULL,
  PRIMARY KEY (name, value, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_labels_job ON rota_labels (job);

-- `job` waits for `after`. `met` says that `after` has succeeded.
CREATE TABLE rota_dependencies (
  after  TEXT NOT NULL,
  job    TEXT NOT NULL,
  position INTEGER NOT NULL,
  met    INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (after, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_dependencies_job ON rota_dependencies (job);

-- Tries that are over. The running one is in its job's row.
CREATE TABLE rota_attempts (
  job          TEXT NOT NULL,
  attempt      INTEGER NOT NULL,
  worker       TEXT NOT NULL,
  started_at   INTEGER NOT NULL,
  finished_at  INTEGER NOT NULL,
  outcome      TEXT NOT NULL,
  exit_code    INTEGER,
  error        TEXT,
  proof        TEXT,
  PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;

CREATE TABLE rota_events (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  at       INTEGER NOT NULL,
  job      TEXT NOT NULL,
  owner    TEXT NOT NULL,
  kind     TEXT NOT NULL,
  state    TEXT NOT NULL,
  attempt  INTEGER NOT NULL,
  by       TEXT,
  why      TEXT
) STRICT;
CREATE INDEX rota_events_job ON rota_events (job, seq);

-- How many jobs of each queue and lane are in each state: kept by the transactions that change states.
CREATE TABLE rota_counts (
  queue  TEXT NOT NULL,
  lane   TEXT NOT NULL,
  state  TEXT NOT NULL,
  n      INTEGER NOT NULL CHECK (n >= 0),
  PRIMARY KEY (state, queue, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE rota_workers (
  id             TEXT PRIMARY KEY,
  hello          TEXT NOT NULL,
  registered_at  INTEGER NOT NULL,
  beat_at        INTEGER NOT NULL,
  lease_until    INTEGER NOT NULL,
  draining       INTEGER NOT NULL DEFAULT 0,
  gone_at        INTEGER,
  gone_why       TEXT
) STRICT;
CREATE INDEX rota_workers_lease ON rota_workers (lease_until) WHERE gone_at IS NULL;
CREATE INDEX rota_workers_gone ON rota_workers (gone_at) WHERE gone_at IS NOT NULL;

-- Every handler that a worker ever offered.
CREATE TABLE rota_handlers (
  name     TEXT PRIMARY KEY,
  spec     TEXT NOT NULL,
  seen_at  INTEGER NOT NULL
) STRICT;

CREATE TABLE rota_logs (
  job      TEXT NOT NULL,
  attempt  INTEGER NOT NULL,
  n        INTEGER NOT NULL,
  stream   TEXT NOT NULL,
  at       INTEGER NOT NULL,
  text     TEXT NOT NULL,
  PRIMARY KEY (job, attempt, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE rota_deliveries (
  id        TEXT PRIMARY KEY,
  job       TEXT NOT NULL,
  url       TEXT NOT NULL,
  body      TEXT NOT NULL,
  tries     INTEGER NOT NULL DEFAULT 0,
  next_at   INTEGER,
  done_at   INTEGER,
  gave_up   INTEGER NOT NULL DEFAULT 0,
  log       TEXT NOT NULL DEFAULT '[]',
  CHECK ((next_at IS NULL) = (done_at IS NOT NULL))
) STRICT;
CREATE INDEX rota_deliveries_due ON rota_deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX rota_deliveries_job ON rota_deliveries (job);

-- Answers to submissions with an Idempotency-Key.
CREATE TABLE rota_answers (
  key          TEXT PRIMARY KEY,
  fingerprint  TEXT NOT NULL,
  body         BLOB NOT NULL,
  made_at      INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_answers_made ON rota_answers (made_at);
