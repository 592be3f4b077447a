-- Workflows: conditions, how many of them must be met, runs.
-- `spare`: how many of what a job waits for may yet turn out never to be met. `least`: how many must be; NULL: all.
ALTER TABLE rota_jobs ADD COLUMN run TEXT;
ALTER TABLE rota_jobs ADD COLUMN ref TEXT;
ALTER TABLE rota_jobs ADD COLUMN least INTEGER CHECK (least > 0);
ALTER TABLE rota_jobs ADD COLUMN spare INTEGER NOT NULL DEFAULT 0 CHECK (spare >= 0);
-- Of an array whose inputs are another job's result: which, and where in it.
ALTER TABLE rota_jobs ADD COLUMN map TEXT;
-- Its data, arguments or variables hold references to results, which a claim fills in.
ALTER TABLE rota_jobs ADD COLUMN refers INTEGER NOT NULL DEFAULT 0;
CREATE INDEX rota_jobs_run ON rota_jobs (run, id) WHERE run IS NOT NULL;

-- `told` is the state that `after` has ended in; `met` says that this has been counted, and `job` no longer waits for it.
-- `refers`: `job` uses the result of `after`, which stays until `job` is over.
ALTER TABLE rota_dependencies ADD COLUMN condition TEXT NOT NULL DEFAULT 'succeeded';
ALTER TABLE rota_dependencies ADD COLUMN told TEXT;
ALTER TABLE rota_dependencies ADD COLUMN refers INTEGER NOT NULL DEFAULT 0;
CREATE INDEX rota_dependencies_told ON rota_dependencies (job) WHERE told IS NOT NULL AND met = 0;
CREATE INDEX rota_dependencies_refers ON rota_dependencies (after) WHERE refers = 1;

-- `stopping`: an abort was asked for, and has not reached all its jobs yet. `looked_at`: when upkeep last looked whether it is over.
CREATE TABLE rota_runs (
  id                  TEXT PRIMARY KEY,
  state               TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'aborted', 'canceled')),
  name                TEXT,
  owner               TEXT NOT NULL,
  labels              TEXT,
  hook                TEXT,
  jobs                INTEGER NOT NULL CHECK (jobs > 0),
  submitted_at        INTEGER NOT NULL,
  started_at          INTEGER,
  finished_at         INTEGER,
  abort_requested_at  INTEGER,
  stopping            INTEGER NOT NULL DEFAULT 0,
  retry_of            TEXT,
  looked_at           INTEGER NOT NULL,
  CHECK ((state = 'running') = (finished_at IS NULL))
) STRICT;
CREATE INDEX rota_runs_open ON rota_runs (looked_at) WHERE finished_at IS NULL;
CREATE INDEX rota_runs_over ON rota_runs (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX rota_runs_owner ON rota_runs (owner, id);
CREATE INDEX rota_runs_state ON rota_runs (state, id);
CREATE INDEX rota_runs_name ON rota_runs (name, id) WHERE name IS NOT NULL;

-- How many jobs of each run are in each state: kept by the transactions that change states.
CREATE TABLE rota_run_counts (
  run    TEXT NOT NULL,
  state  TEXT NOT NULL,
  n      INTEGER NOT NULL,
  PRIMARY KEY (run, state)
) STRICT, WITHOUT ROWID;
