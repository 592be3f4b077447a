-- The schema as SQLite has it after its migration 0002: a number means the same schema in both stores.
-- All names begin with rota_: the tables may share a database with an application's own. Text is compared byte by byte
-- (COLLATE "C"), as Python and SQLite compare it, whatever the database's language is.
-- CHECKs restate the state machine of core/states.py: a bug above cannot write an impossible row.

CREATE TABLE rota_jobs (
  id                 text COLLATE "C" PRIMARY KEY,
  state              text COLLATE "C" NOT NULL,
  kind               text COLLATE "C" NOT NULL,
  lane               text COLLATE "C" NOT NULL,
  handler            text COLLATE "C",
  script             text,
  data               text NOT NULL,
  args               text NOT NULL,
  variables          text,
  owner              text COLLATE "C" NOT NULL,
  queue              text COLLATE "C" NOT NULL,
  priority           bigint NOT NULL,
  labels             text,
  waiting_for        integer NOT NULL DEFAULT 0,
  run_at             bigint NOT NULL,
  submitted_at       bigint NOT NULL,
  started_at         bigint,
  finished_at        bigint,
  attempt            bigint NOT NULL DEFAULT 0,
  failures           bigint NOT NULL DEFAULT 0,
  crashes            bigint NOT NULL DEFAULT 0,
  max_failures       bigint CHECK (max_failures >= 1),
  timeout_s          double precision CHECK (timeout_s > 0),
  grace_s            double precision NOT NULL CHECK (grace_s >= 0),
  backoff            text,
  worker             text COLLATE "C",
  deadline_at        bigint,
  lease_until        bigint,
  progress           text,
  result             text,
  error              text,
  reason             text COLLATE "C",
  abort_requested_at bigint,
  confirmed          boolean,
  hook               text,
  retry_of           text COLLATE "C",
  image              text,
  options            text,
  api                text COLLATE "C",
  inputs             integer CHECK (inputs > 0),
  open               boolean NOT NULL DEFAULT false,
  CHECK (CASE state
    WHEN 'running' THEN (worker IS NULL) = (inputs IS NOT NULL) AND started_at IS NOT NULL AND attempt > 0 AND finished_at IS NULL AND waiting_for = 0
    WHEN 'succeeded' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for = 0
    WHEN 'queued' THEN finished_at IS NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for = 0
    WHEN 'scheduled' THEN finished_at IS NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for = 0
    WHEN 'blocked' THEN finished_at IS NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND waiting_for > 0
    WHEN 'failed' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND reason IS NOT NULL
    WHEN 'aborted' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NOT NULL AND confirmed IS NOT NULL
    WHEN 'canceled' THEN finished_at IS NOT NULL AND lease_until IS NULL AND abort_requested_at IS NULL AND reason IS NOT NULL
    ELSE false END),
  CHECK (CASE kind WHEN 'handler' THEN handler IS NOT NULL AND script IS NULL AND image IS NULL
                   WHEN 'script' THEN script IS NOT NULL AND handler IS NULL AND image IS NULL
                   WHEN 'command' THEN script IS NOT NULL AND handler IS NULL AND image IS NULL
                   WHEN 'image' THEN image IS NOT NULL AND handler IS NULL AND script IS NULL
                   WHEN 'pull' THEN handler IS NOT NULL AND script IS NULL AND image IS NULL ELSE false END),
  CHECK (NOT open OR (state = 'running' AND inputs IS NOT NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 1);

-- What may be claimed, lane by lane, in the order in which it is claimed.
CREATE INDEX rota_jobs_ready ON rota_jobs (queue, lane, priority DESC, run_at, id) WHERE state = 'queued' OR open;
CREATE INDEX rota_jobs_due ON rota_jobs (run_at, id) WHERE state = 'scheduled';
CREATE INDEX rota_jobs_running ON rota_jobs (worker, id) WHERE state = 'running';
CREATE INDEX rota_jobs_deadline ON rota_jobs (deadline_at) WHERE deadline_at IS NOT NULL;  -- so it is running
-- Leases with an end of their own: their worker's last heartbeat did not name them. Empty but for lost replies.
CREATE INDEX rota_jobs_unnamed ON rota_jobs (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX rota_jobs_over ON rota_jobs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX rota_jobs_state ON rota_jobs (state, id);
-- The jobs of one of the four other APIs.
CREATE INDEX rota_jobs_api ON rota_jobs (api, state, id) WHERE api IS NOT NULL;
CREATE INDEX rota_jobs_api_owner ON rota_jobs (api, owner, id) WHERE api IS NOT NULL;

-- What people list jobs by, and a claim does not change. In rota_jobs each of these indexes would get a new entry with
-- every change of a job's state: that was a third of a job's cost.
CREATE TABLE rota_listed (
  id       text COLLATE "C" PRIMARY KEY,
  owner    text COLLATE "C" NOT NULL,
  queue    text COLLATE "C" NOT NULL,
  handler  text COLLATE "C"
);
CREATE INDEX rota_listed_owner ON rota_listed (owner, id);
CREATE INDEX rota_listed_queue ON rota_listed (queue, id);
CREATE INDEX rota_listed_handler ON rota_listed (handler, id) WHERE handler IS NOT NULL;

CREATE TABLE rota_labels (
  name   text COLLATE "C" NOT NULL,
  value  text COLLATE "C" NOT NULL,
  job    text COLLATE "C" NOT NULL,
  PRIMARY KEY (name, value, job)
);
CREATE INDEX rota_labels_job ON rota_labels (job);

-- `job` waits for `after`. `met` says that `after` has succeeded.
CREATE TABLE rota_dependencies (
  after     text COLLATE "C" NOT NULL,
  job       text COLLATE "C" NOT NULL,
  position  integer NOT NULL,
  met       boolean NOT NULL DEFAULT false,
  PRIMARY KEY (after, job)
) WITH (fillfactor = 80);
CREATE INDEX rota_dependencies_job ON rota_dependencies (job);

-- Tries that are over. The running one is in its job's row.
CREATE TABLE rota_attempts (
  job          text COLLATE "C" NOT NULL,
  attempt      bigint NOT NULL,
  worker       text NOT NULL,
  started_at   bigint NOT NULL,
  finished_at  bigint NOT NULL,
  outcome      text NOT NULL,
  exit_code    bigint,
  error        text,
  proof        text,
  first        integer,
  inputs       integer,
  PRIMARY KEY (job, attempt)
);

-- Transactions commit in another order than their events are numbered in. `horizon` tells a reader how far it may go: all
-- lower numbers were given to transactions whose ids are below it.
CREATE SEQUENCE rota_events_seq;
CREATE TABLE rota_events (
  seq      bigint PRIMARY KEY,
  at       bigint NOT NULL,
  job      text COLLATE "C" NOT NULL,
  owner    text COLLATE "C" NOT NULL,
  kind     text NOT NULL,
  state    text NOT NULL,
  attempt  bigint NOT NULL,
  by       text,
  why      text,
  horizon  bigint NOT NULL
);
CREATE INDEX rota_events_job ON rota_events (job, seq);

-- How many jobs of each queue and lane are in each state: kept by the transactions that change states. Each number is
-- the sum of its parts, which may be negative: two transactions seldom want the same part, and so seldom wait.
CREATE TABLE rota_counts (
  queue  text COLLATE "C" NOT NULL,
  lane   text COLLATE "C" NOT NULL,
  state  text COLLATE "C" NOT NULL,
  part   integer NOT NULL,
  n      bigint NOT NULL,
  PRIMARY KEY (state, queue, lane, part)
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.5, autovacuum_vacuum_cost_delay = 0);

-- No index has a column that a heartbeat changes.
CREATE TABLE rota_workers (
  id             text COLLATE "C" PRIMARY KEY,
  hello          text NOT NULL,
  registered_at  bigint NOT NULL,
  beat_at        bigint NOT NULL,
  lease_until    bigint NOT NULL,
  draining       boolean NOT NULL DEFAULT false,
  gone_at        bigint,
  gone_why       text
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.5);
CREATE INDEX rota_workers_gone ON rota_workers (gone_at) WHERE gone_at IS NOT NULL;

-- Every handler that a worker ever offered.
CREATE TABLE rota_handlers (
  name     text COLLATE "C" PRIMARY KEY,
  spec     text NOT NULL,
  seen_at  bigint NOT NULL
) WITH (fillfactor = 50);

-- `text` is UTF-8, as bytes: output may have NUL characters, which a text of PostgreSQL may not.
CREATE TABLE rota_logs (
  job      text COLLATE "C" NOT NULL,
  attempt  bigint NOT NULL,
  n        bigint NOT NULL,
  stream   text NOT NULL,
  at       bigint NOT NULL,
  text     bytea NOT NULL,
  PRIMARY KEY (job, attempt, n)
);

CREATE TABLE rota_deliveries (
  id        text COLLATE "C" PRIMARY KEY,
  job       text COLLATE "C" NOT NULL,
  url       text NOT NULL,
  body      text NOT NULL,
  tries     integer NOT NULL DEFAULT 0,
  next_at   bigint,
  done_at   bigint,
  gave_up   boolean NOT NULL DEFAULT false,
  log       text NOT NULL DEFAULT '[]',
  CHECK ((next_at IS NULL) = (done_at IS NOT NULL))
);
CREATE INDEX rota_deliveries_due ON rota_deliveries (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX rota_deliveries_job ON rota_deliveries (job);

-- Answers to submissions with an Idempotency-Key.
CREATE TABLE rota_answers (
  key          text COLLATE "C" PRIMARY KEY,
  fingerprint  text NOT NULL,
  body         bytea NOT NULL,
  made_at      bigint NOT NULL
);
CREATE INDEX rota_answers_made ON rota_answers (made_at);

-- How far each array is; core/jobs.py explains the columns. Whoever changes it, its shards or its ranges holds its job.
CREATE TABLE rota_arrays (
  job       text COLLATE "C" PRIMARY KEY,
  inputs    integer NOT NULL CHECK (inputs > 0),
  cursor    integer NOT NULL DEFAULT 0 CHECK (cursor BETWEEN 0 AND inputs),
  done      integer NOT NULL DEFAULT 0 CHECK (done BETWEEN 0 AND inputs),
  failed    integer NOT NULL DEFAULT 0 CHECK (failed BETWEEN 0 AND done),
  live      integer NOT NULL DEFAULT 0 CHECK (live >= 0),
  parallel  integer CHECK (parallel > 0),
  halt      text,
  halted    text,
  ran_s     double precision NOT NULL DEFAULT 0,
  proven    boolean NOT NULL DEFAULT true,
  root      text COLLATE "C" NOT NULL,
  base      text COLLATE "C"
) WITH (fillfactor = 50);
CREATE INDEX rota_arrays_root ON rota_arrays (root);
CREATE INDEX rota_arrays_base ON rota_arrays (base) WHERE base IS NOT NULL;

-- The inputs, in pieces: `n` from `first`, as a JSON list. Arrays that run the same inputs again share them.
CREATE TABLE rota_inputs (
  root   text COLLATE "C" NOT NULL,
  first  integer NOT NULL,
  n      integer NOT NULL,
  body   text NOT NULL,
  PRIMARY KEY (root, first)
);

-- Inputs that are being written, before there is a job: what a server left behind is removed later.
CREATE TABLE rota_uploads (
  root      text COLLATE "C" PRIMARY KEY,
  begun_at  bigint NOT NULL
);

-- Shards: leased ranges of an array's inputs. (job, attempt) names one, as it names any attempt.
CREATE TABLE rota_shards (
  job          text COLLATE "C" NOT NULL,
  attempt      bigint NOT NULL,
  worker       text COLLATE "C" NOT NULL,
  first        integer NOT NULL,
  n            integer NOT NULL,
  told         integer NOT NULL,
  failures     bigint NOT NULL,
  crashes      bigint NOT NULL,
  started_at   bigint NOT NULL,
  lease_until  bigint,
  PRIMARY KEY (job, attempt)
) WITH (fillfactor = 50);
CREATE INDEX rota_shards_worker ON rota_shards (worker);
CREATE INDEX rota_shards_unnamed ON rota_shards (lease_until) WHERE lease_until IS NOT NULL;

-- Inputs that are to run again. `due` says that `run_at` has come.
CREATE TABLE rota_ranges (
  job       text COLLATE "C" NOT NULL,
  first     integer NOT NULL,
  n         integer NOT NULL,
  run_at    bigint NOT NULL,
  failures  bigint NOT NULL,
  crashes   bigint NOT NULL,
  due       boolean NOT NULL,
  PRIMARY KEY (job, first)
);
CREATE INDEX rota_ranges_ready ON rota_ranges (job, first) WHERE due;
CREATE INDEX rota_ranges_due ON rota_ranges (run_at) WHERE NOT due;

-- What became of the inputs that are over.
CREATE TABLE rota_results (
  job    text COLLATE "C" NOT NULL,
  n      integer NOT NULL,
  state  text COLLATE "C" NOT NULL,
  body   text NOT NULL,
  PRIMARY KEY (job, n)
);
CREATE INDEX rota_results_bad ON rota_results (job, n) WHERE state <> 'succeeded';
