"""A PostgreSQL store with many rows of every kind, written with SQL: nobody could wait for the service to do it."""

from __future__ import annotations

import asyncpg

from rota.store.postgres.store import PostgresStore

# {what}: o(ver), d(elayed), w(aiting); the ids of all begin with an f.
_JOBS = """
INSERT INTO rota_jobs (id, state, kind, lane, handler, data, args, owner, queue, priority, run_at, submitted_at, grace_s,
  started_at, finished_at, attempt, worker)
SELECT 'f{what}' || lpad(n::text, 9, '0'), '{state}', 'handler', chr(97 + n % 3), chr(97 + n % 3), '{{}}', '[]',
  'owner' || n % 50, 'default', -1, 1700000000000000 + {ahead} + n, 1700000000000000, 5, {ended}
FROM generate_series(1, {n}) n;
INSERT INTO rota_listed SELECT id, owner, queue, handler FROM rota_jobs WHERE id LIKE 'f{what}%';
INSERT INTO rota_counts SELECT 'default', l, '{state}', 0, {n} / 3 FROM unnest(ARRAY['a', 'b', 'c']) l;
INSERT INTO rota_turns SELECT 'default', -1, 'owner' || o, chr(97 + l), o, 'ready', 1
  FROM generate_series(0, 49) o, generate_series(0, 2) l ON CONFLICT DO NOTHING;
"""
_ENDED = "1700000000000000, 1700000001000000 + n, 1, 'w'"
_NOT_ENDED = "NULL, NULL, 0, NULL"
_HISTORY = """
INSERT INTO rota_attempts SELECT id, 1, 'w', 1, 2, 'succeeded' FROM rota_jobs WHERE id LIKE 'fo%';
INSERT INTO rota_events
  SELECT nextval('rota_events_seq'), 1, id, owner, 'submitted', state, 0, NULL, NULL, 1 FROM rota_jobs;
"""
_REST = """
INSERT INTO rota_attempts (job, attempt, worker, started_at, finished_at, outcome, error, first, inputs)
  SELECT id, 2, 'w', 1, finished_at, CASE WHEN finished_at % 2 = 0 THEN 'errored' ELSE 'succeeded' END, '{"type":"E"}', 0, 5
  FROM rota_jobs WHERE id LIKE 'fo%';
INSERT INTO rota_series SELECT 60, '', n * 60000000::bigint, 's', '{}' FROM generate_series(1, 20000) n;
INSERT INTO rota_turns SELECT 'default', n % 7, 'o' || n, chr(97 + n % 3), n,
  CASE WHEN n % 2 = 0 THEN 'ready' ELSE 'empty' END, n FROM generate_series(1, 20000) n;
INSERT INTO rota_clocks SELECT 'q' || n, 0, n FROM generate_series(1, 2000) n;
INSERT INTO rota_usage SELECT 'owner' || n % 500, n, n FROM generate_series(1, 20000) n;
INSERT INTO rota_owners (owner) SELECT 'owner' || n FROM generate_series(1, 2000) n;
INSERT INTO rota_labels SELECT 'k', 'v' || substr(id, 11), id FROM rota_jobs;
INSERT INTO rota_dependencies SELECT 'fo' || substr(id, 3), id, 0, true FROM rota_jobs WHERE id LIKE 'fw%';
INSERT INTO rota_logs SELECT id, 1, 0, 'stdout', 1, 'x' FROM rota_jobs WHERE id LIKE 'fo%';
INSERT INTO rota_deliveries SELECT id, id, 'http://h', 'x', 0, NULL, 1 FROM rota_jobs WHERE id LIKE 'fo%';
INSERT INTO rota_answers SELECT id, 'f', 'x', 1700000000000000 FROM rota_jobs WHERE id LIKE 'fo%';
INSERT INTO rota_results SELECT 'fo000000001', n, 'succeeded',
  '{"index":' || n || ',"state":"succeeded","outcome":"succeeded","attempt":1}' FROM generate_series(1, 20000) n;
INSERT INTO rota_arrays (job, inputs, root, base) SELECT id, 5, id, 'b' || id FROM rota_jobs WHERE id LIKE 'fo%';
INSERT INTO rota_inputs SELECT job, 0, 5, '[1,2,3,4,5]' FROM rota_arrays;
INSERT INTO rota_ranges SELECT job, 0, 1, 2700000000000000, 0, 0, false FROM rota_arrays;
INSERT INTO rota_shards SELECT job, 1, 'gone' || substr(job, 10), 0, 1, 0, 0, 0, 1, NULL FROM rota_arrays;
INSERT INTO rota_uniques SELECT owner, 'k' || id, id,
  CASE WHEN id LIKE 'fd%' THEN 2700000000000000 END FROM rota_jobs;
INSERT INTO rota_checkpoints SELECT id, 1, 1, '{}' FROM rota_jobs WHERE id LIKE 'fo%';
INSERT INTO rota_signatures SELECT 'h' || n / 20, 'v' || n, n, '{}' FROM generate_series(1, 20000) n;
INSERT INTO rota_uploads SELECT 'u' || n, 1700000000000000 FROM generate_series(1, 100) n;
INSERT INTO rota_audit (at, n, token, role, owner, address, action, target, status)
  SELECT 1700000000000000 + n, 1, 't' || n % 100, 'user', 'ana', '127.0.0.1', 'jobs.submit', 'j' || n, 201
  FROM generate_series(1, 20000) n;
INSERT INTO rota_schedules SELECT 's' || lpad(n::text, 9, '0'), 'n' || n, 'owner' || n % 50, '* * * * *', 'Europe/Berlin', '{}',
  'once', 1, 'queue', 0, NULL, NULL, NULL, 1700000000000000, 2700000000000000 + n, CASE WHEN n % 1000 = 0 THEN 1 END,
  '2026:a', 1, 1, 1
  FROM generate_series(1, 20000) n;
UPDATE rota_jobs SET limit_key = 'k' || run_at % 50, lane = CASE WHEN run_at % 2 = 0 THEN 'held:' || lane ELSE lane END
  WHERE id LIKE 'fw%' AND id > 'fw000010000';
INSERT INTO rota_buckets SELECT 'key', 'k' || n, n FROM generate_series(1, 20000) n;
UPDATE rota_schedules SET origin = 'app' || substr(id, 7);
INSERT INTO rota_deploys SELECT 'app' || n / 20, 'd' || n, n FROM generate_series(1, 20000) n;
INSERT INTO rota_firings SELECT 's' || lpad((n % 2000 + 1)::text, 9, '0'), 1000000 + n, 1700000000000000 + n, 'submitted',
  'fo' || lpad(n::text, 9, '0'), NULL, 0, (n % 5 = 0)::int FROM generate_series(1, 20000) n;
INSERT INTO rota_runs (id, state, name, owner, jobs, submitted_at, finished_at, looked_at)
  SELECT 'run-' || lpad(n::text, 5, '0'), CASE WHEN n % 5 = 0 THEN 'running' ELSE 'failed' END, 'n' || n % 100,
  'owner' || n % 50,
  1, 1700000000000000 + n, CASE WHEN n % 5 > 0 THEN 1700000000000000 + n END, 1700000000000000 + n
  FROM generate_series(1, 20000) n;
INSERT INTO rota_run_counts SELECT id, 'failed', 0, 1 FROM rota_runs;
UPDATE rota_listed SET run = 'run-' || substr(id, 7) WHERE id LIKE 'fw%';
UPDATE rota_jobs SET run = 'run-' || substr(id, 7) WHERE id LIKE 'fw%';
INSERT INTO rota_schedule_history SELECT 's' || lpad(n::text, 9, '0'), 1, 1, NULL, 'created', '{}'
  FROM generate_series(1, 20000) n;
"""


async def fill(url: str, n: int, *, rest: bool = True) -> None:
    """Open the store, and write `n` jobs that are over, `n` that are delayed, and `n` that wait, with their history.

    `rest`: and rows of every other kind. The statistics are fresh then.
    """
    store = PostgresStore(url)
    await store.open()
    await store.close()
    con = await asyncpg.connect(url)
    try:
        await con.execute(_JOBS.format(what="o", state="succeeded", ahead=0, ended=_ENDED, n=n))
        await con.execute(_JOBS.format(what="d", state="scheduled", ahead=10**15, ended=_NOT_ENDED, n=n))
        await con.execute(_JOBS.format(what="w", state="queued", ahead=0, ended=_NOT_ENDED, n=n))
        await con.execute(_HISTORY + (_REST if rest else ""))
        await con.execute("VACUUM ANALYZE")
    finally:
        await con.close()
