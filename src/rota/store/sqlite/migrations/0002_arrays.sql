-- Arrays, images, commands, the tasks of pull workers. The table of jobs is made anew: SQLite cannot change a CHECK.

CREATE TABLE rota_jobs_2 (
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
  image              TEXT,
  options            TEXT,
  api                TEXT,
  inputs             INTEGER CHECK (inputs > 0),
  open               INTEGER NOT NULL DEFAULT 0,
  -- One CASE, the most frequent states first: as nine separate CHECKs the same cost a fifth of a job's whole cycle.
  CHECK (CASE state
    WHEN 'running' THEN (worker IS NULL) = (inputs IS NOT NULL) AND started_at IS NOT NULL AND attempt > 0 AND finished_at IS NULL AND waiting_for = 0
    WHEN 'succeeded' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for = 0
    WHEN 'queued' THEN finished_at IS NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for = 0
    WHEN 'scheduled' THEN finished_at IS NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for = 0
    WHEN 'blocked' THEN finished_at IS NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for > 0
    WHEN 'failed' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND reason IS NOT NULL
    WHEN 'aborted' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NOT NULL AND confirmed IS NOT NULL
    WHEN 'canceled' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND reason IS NOT NULL
    ELSE 0 END),
  CHECK (CASE kind WHEN 'handler' THEN handler IS NOT NULL AND script IS NULL AND image IS NULL
                   WHEN 'script' THEN script IS NOT NULL AND handler IS NULL AND image IS NULL
                   WHEN 'command' THEN script IS NOT NULL AND handler IS NULL AND image IS NULL
                   WHEN 'image' THEN image IS NOT NULL AND handler IS NULL AND script IS NULL
                   WHEN 'pull' THEN handler IS NOT NULL AND script IS NULL AND image IS NULL ELSE 0 END),
  CHECK (NOT open OR (state = 'running' AND inputs IS NOT NULL))
) STRICT;

INSERT INTO rota_jobs_2 (id, state, kind, lane, handler, script, data, args, variables, owner, queue, priority, labels, waiting_for, run_at, submitted_at,
  started_at, finished_at, attempt, failures, crashes, max_failures, timeout_s, grace_s, backoff, worker, deadline_at, lease_until,
  progress, result, error, reason, abort_requested_at, confirmed, hook, retry_of)
SELECT id, state, kind, lane, handler, script, data, args, variables, owner, queue, priority, labels, waiting_for, run_at, submitted_at,
  started_at, finished_at, attempt, failures, crashes, max_failures, timeout_s, grace_s, backoff, worker, deadline_at, lease_until,
  progress, result, error, reason, abort_requested_at, confirmed, hook, retry_of FROM rota_jobs;

DROP TABLE rota_jobs;
ALTER TABLE rota_jobs_2 RENAME TO rota_jobs;

-- What may be claimed, lane by lane, in the order in which it is claimed.
CREATE INDEX rota_jobs_ready ON rota_jobs (queue, lane, priority DESC, run_at, id) WHERE state = 'queued' OR open = 1;
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
-- The jobs of one of the four other APIs.
CREATE INDEX rota_jobs_api ON rota_jobs (api, state, id) WHERE api IS NOT NULL;
CREATE INDEX rota_jobs_api_owner ON rota_jobs (api, owner, id) WHERE api IS NOT NULL;

-- How far each array is; core/jobs.py explains the columns.
CREATE TABLE rota_arrays (
  job       TEXT PRIMARY KEY,
  inputs    INTEGER NOT NULL CHECK (inputs > 0),
  cursor    INTEGER NOT NULL DEFAULT 0 CHECK (cursor BETWEEN 0 AND inputs),
  done      INTEGER NOT NULL DEFAULT 0 CHECK (done BETWEEN 0 AND inputs),
  failed    INTEGER NOT NULL DEFAULT 0 CHECK (failed BETWEEN 0 AND done),
  live      INTEGER NOT NULL DEFAULT 0 CHECK (live >= 0),
  parallel  INTEGER CHECK (parallel > 0),
  halt      TEXT,
  halted    TEXT,
  ran_s     REAL NOT NULL DEFAULT 0,
  proven    INTEGER NOT NULL DEFAULT 1,
  root      TEXT NOT NULL,
  base      TEXT
) STRICT;
CREATE INDEX rota_arrays_root ON rota_arrays (root);
CREATE INDEX rota_arrays_base ON rota_arrays (base) WHERE base IS NOT NULL;

-- The inputs, in pieces: `n` from `first`, as a JSON list. Arrays that run the same inputs again share them.
CREATE TABLE rota_inputs (
  root   TEXT NOT NULL,
  first  INTEGER NOT NULL,
  n      INTEGER NOT NULL,
  body   TEXT NOT NULL,
  PRIMARY KEY (root, first)
) STRICT;

-- Inputs that are being written, before there is a job: what a server left behind is removed later.
CREATE TABLE rota_uploads (
  root      TEXT PRIMARY KEY,
  begun_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Shards: leased ranges of an array's inputs. (job, attempt) names one, as it names any attempt.
CREATE TABLE rota_shards (
  job          TEXT NOT NULL,
  attempt      INTEGER NOT NULL,
  worker       TEXT NOT NULL,
  first        INTEGER NOT NULL,
  n            INTEGER NOT NULL,
  told         INTEGER NOT NULL,
  failures     INTEGER NOT NULL,
  crashes      INTEGER NOT NULL,
  started_at   INTEGER NOT NULL,
  lease_until  INTEGER,
  PRIMARY KEY (job, attempt)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_shards_worker ON rota_shards (worker);
CREATE INDEX rota_shards_unnamed ON rota_shards (lease_until) WHERE lease_until IS NOT NULL;

-- Inputs that are to run again. `due` says that `run_at` has come.
CREATE TABLE rota_ranges (
  job       TEXT NOT NULL,
  first     INTEGER NOT NULL,
  n         INTEGER NOT NULL,
  run_at    INTEGER NOT NULL,
  failures  INTEGER NOT NULL,
  crashes   INTEGER NOT NULL,
  due       INTEGER NOT NULL,
  PRIMARY KEY (job, first)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_ranges_ready ON rota_ranges (job, first) WHERE due = 1;
CREATE INDEX rota_ranges_due ON rota_ranges (run_at) WHERE due = 0;

-- What became of the inputs that are over.
CREATE TABLE rota_results (
  job    TEXT NOT NULL,
  n      INTEGER NOT NULL,
  state  TEXT NOT NULL,
  body   TEXT NOT NULL,
  PRIMARY KEY (job, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX rota_results_bad ON rota_results (job, n) WHERE state <> 'succeeded';

ALTER TABLE rota_attempts ADD COLUMN first INTEGER;
ALTER TABLE rota_attempts ADD COLUMN inputs INTEGER;
