-- expand
-- Workflows: conditions, how many of them must be met, runs.
-- `spare`: how many of what a job waits for may yet turn out never to be met. `least`: how many must be; NULL: all.
ALTER TABLE rota_jobs ADD COLUMN run text COLLATE "C";
ALTER TABLE rota_jobs ADD COLUMN ref text COLLATE "C";
ALTER TABLE rota_jobs ADD COLUMN least integer CHECK (least > 0);
ALTER TABLE rota_jobs ADD COLUMN spare integer NOT NULL DEFAULT 0 CHECK (spare >= 0);
-- Of an array whose inputs are another job's result: which, and where in it.
ALTER TABLE rota_jobs ADD COLUMN map text;
-- Its data, arguments or variables hold references to results, which a claim fills in.
ALTER TABLE rota_jobs ADD COLUMN refers boolean NOT NULL DEFAULT false;
-- What jobs are listed by is beside their table: there each index would get a new entry with every change of state.
ALTER TABLE rota_listed ADD COLUMN run text COLLATE "C";
CREATE INDEX rota_listed_run ON rota_listed (run, id) WHERE run IS NOT NULL;

-- `told` is the state that `after` has ended in; `met` says that this has been counted, and `job` no longer waits for it.
-- `refers`: `job` uses the result of `after`, which stays until `job` is over.
ALTER TABLE rota_dependencies ADD COLUMN condition text COLLATE "C" NOT NULL DEFAULT 'succeeded';
ALTER TABLE rota_dependencies ADD COLUMN told text COLLATE "C";
ALTER TABLE rota_dependencies ADD COLUMN refers boolean NOT NULL DEFAULT false;
CREATE INDEX rota_dependencies_told ON rota_dependencies (job) WHERE told IS NOT NULL AND NOT met;
CREATE INDEX rota_dependencies_refers ON rota_dependencies (after) WHERE refers;

-- `stopping`: an abort was asked for, and has not reached all its jobs yet. `looked_at`: when upkeep last looked whether it is over.
CREATE TABLE rota_runs (
  id                  text COLLATE "C" PRIMARY KEY,
  state               text COLLATE "C" NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'aborted', 'canceled')),
  name                text COLLATE "C",
  owner               text COLLATE "C" NOT NULL,
  labels              text,
  hook                text,
  jobs                integer NOT NULL CHECK (jobs > 0),
  submitted_at        bigint NOT NULL,
  started_at          bigint,
  finished_at         bigint,
  abort_requested_at  bigint,
  stopping            boolean NOT NULL DEFAULT false,
  retry_of            text COLLATE "C",
  looked_at           bigint NOT NULL,
  CHECK ((state = 'running') = (finished_at IS NULL))
);
CREATE INDEX rota_runs_open ON rota_runs (looked_at) WHERE finished_at IS NULL;
CREATE INDEX rota_runs_over ON rota_runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX rota_runs_owner ON rota_runs (owner, id);
CREATE INDEX rota_runs_state ON rota_runs (state, id);
CREATE INDEX rota_runs_name ON rota_runs (name, id) WHERE name IS NOT NULL;

-- How many jobs of each run are in each state: kept by the transactions that change states. Each number is the sum of its
-- parts, as in rota_counts.
CREATE TABLE rota_run_counts (
  run    text COLLATE "C" NOT NULL,
  state  text COLLATE "C" NOT NULL,
  part   integer NOT NULL,
  n      bigint NOT NULL,
  PRIMARY KEY (run, state, part)
) WITH (fillfactor = 70);
