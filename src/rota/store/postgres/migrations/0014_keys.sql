-- expand
-- Limits of keys (core/keys.py). Servers of before this step do not know them: they start what has a key as what has none, but
-- nothing that is held, or that takes several slots.
ALTER TABLE rota_limits DROP CONSTRAINT rota_limits_kind_check;
ALTER TABLE rota_limits ADD CONSTRAINT rota_limits_kind_check CHECK (kind IN ('queue', 'handler', 'key'));

-- There may be as many buckets as keys: those that are full again are removed.
CREATE INDEX rota_buckets_full ON rota_buckets (full_at) WHERE kind = 'key';

-- What a job is limited by together with others; how many slots of its worker it takes (NULL: one).
ALTER TABLE rota_jobs ADD COLUMN limit_key text COLLATE "C";
ALTER TABLE rota_jobs ADD COLUMN slots integer CHECK (slots > 1);
CREATE INDEX rota_jobs_keys ON rota_jobs (limit_key, state, queue, lane) WHERE limit_key IS NOT NULL AND finished_at IS NULL;
-- Queued jobs that no claim looks at, because their key is full: their lane has a mark before it.
CREATE INDEX rota_jobs_held ON rota_jobs (limit_key, queue, lane, owner, priority, run_at, id)
  WHERE limit_key IS NOT NULL AND state = 'queued' AND substr(lane, 1, 5) = 'held:';
