-- Tokens: of each only a hash. Rows stay when a token is revoked, so that the trail can name it.
CREATE TABLE rota_tokens (
  id          TEXT PRIMARY KEY,
  hash        TEXT NOT NULL,
  role        TEXT NOT NULL CHECK (role IN ('admin', 'user', 'worker')),
  name        TEXT NOT NULL,
  owner       TEXT,
  queues      TEXT NOT NULL,
  allow       TEXT NOT NULL,
  created_at  INTEGER NOT NULL,
  expires_at  INTEGER,
  revoked_at  INTEGER,
  revision    INTEGER NOT NULL,
  CHECK ((role = 'user') = (owner IS NOT NULL))
) STRICT;

-- Who did what with which token; `n` times since `at`.
CREATE TABLE rota_audit (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  at       INTEGER NOT NULL,
  n        INTEGER NOT NULL,
  token    TEXT,
  role     TEXT NOT NULL,
  owner    TEXT,
  address  TEXT NOT NULL,
  action   TEXT NOT NULL,
  target   TEXT NOT NULL,
  status   INTEGER NOT NULL
) STRICT;
CREATE INDEX rota_audit_token ON rota_audit (token, seq);
