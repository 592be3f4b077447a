-- expand
-- Whose turn it is (core/fairness.py): a row for each that has, or lately had, ready jobs. `full`: a limit is used up.
-- `served_at` is when something was last started from it, or when it became ready. Servers of before this step write no
-- rows: upkeep finds what they submit.
CREATE TABLE rota_turns (
  queue      text COLLATE "C" NOT NULL,
  priority   bigint NOT NULL,
  owner      text COLLATE "C" NOT NULL,
  lane       text COLLATE "C" NOT NULL,
  turn       bigint NOT NULL,
  state      text COLLATE "C" NOT NULL CHECK (state IN ('ready', 'empty', 'full')),
  served_at  bigint NOT NULL,
  PRIMARY KEY (queue, priority, owner, lane)
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_cost_delay = 0);
CREATE INDEX rota_turns_ready ON rota_turns (queue, lane, priority DESC, turn, served_at) WHERE state = 'ready';
CREATE INDEX rota_turns_served ON rota_turns (queue, lane, served_at) WHERE state = 'ready';
CREATE INDEX rota_turns_empty ON rota_turns (served_at) WHERE state = 'empty';

-- The virtual time of the start that came last.
CREATE TABLE rota_clocks (
  queue     text COLLATE "C" NOT NULL,
  priority  bigint NOT NULL,
  clock     bigint NOT NULL,
  PRIMARY KEY (queue, priority)
) WITH (fillfactor = 40, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0.5, autovacuum_vacuum_cost_delay = 0);

-- What was set for an owner; who is not here has weight 1 and no limits.
CREATE TABLE rota_owners (
  owner         text COLLATE "C" PRIMARY KEY,
  weight        double precision NOT NULL DEFAULT 1 CHECK (weight BETWEEN 0.001 AND 1000),
  max_priority  bigint,
  max_waiting   bigint CHECK (max_waiting >= 0),
  max_running   bigint CHECK (max_running >= 0),
  max_bytes     bigint CHECK (max_bytes >= 0)
);

-- For how long owners have used slots, by the minute of the end, in microseconds; the owner '' is all of them together.
CREATE TABLE rota_usage (
  owner   text COLLATE "C" NOT NULL,
  minute  bigint NOT NULL,
  used    bigint NOT NULL,
  PRIMARY KEY (owner, minute)
);
CREATE INDEX rota_usage_minute ON rota_usage (minute);

-- What may be claimed, row by row, the oldest first. Claims of servers of before this step go by it too, and sort.
DROP INDEX rota_jobs_ready;
CREATE INDEX rota_jobs_ready ON rota_jobs (queue, lane, owner, priority, run_at, id) WHERE state = 'queued' OR open;

INSERT INTO rota_turns (queue, priority, owner, lane, turn, state, served_at)
SELECT queue, priority, owner, lane, 0, 'ready', min(run_at) FROM rota_jobs WHERE state = 'queued' OR open
GROUP BY queue, priority, owner, lane;
