-- expand
-- Tokens: of each only a hash. Rows stay when a token is revoked, so that the trail can name it.
CREATE TABLE rota_tokens (
  id          text COLLATE "C" PRIMARY KEY,
  hash        text NOT NULL,
  role        text NOT NULL CHECK (role IN ('admin', 'user', 'worker')),
  name        text NOT NULL,
  owner       text,
  queues      text NOT NULL,
  allow       text NOT NULL,
  created_at  bigint NOT NULL,
  expires_at  bigint,
  revoked_at  bigint,
  revision    bigint NOT NULL,
  CHECK ((role = 'user') = (owner IS NOT NULL))
);

-- Who did what with which token; `n` times since `at`.
CREATE TABLE rota_audit (
  seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  at       bigint NOT NULL,
  n        bigint NOT NULL,
  token    text COLLATE "C",
  role     text NOT NULL,
  owner    text,
  address  text NOT NULL,
  action   text NOT NULL,
  target   text NOT NULL,
  status   integer NOT NULL
);
CREATE INDEX rota_audit_token ON rota_audit (token, seq);
