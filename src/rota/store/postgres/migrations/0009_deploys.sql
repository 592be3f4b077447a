-- expand
-- Schedules that code declares: whose code, and the fingerprint of what it declared last ('': it does so no more).
ALTER TABLE rota_schedules ADD COLUMN origin text COLLATE "C";
ALTER TABLE rota_schedules ADD COLUMN deployed text;
CREATE INDEX rota_schedules_origin ON rota_schedules (origin, id) WHERE origin IS NOT NULL;

-- Every set of schedules that code has declared, by its fingerprint; the newest is in force. One row of each origin, without a
-- fingerprint, is a lock.
CREATE TABLE rota_deploys (
  origin  text COLLATE "C" NOT NULL,
  digest  text COLLATE "C" NOT NULL,
  at      bigint NOT NULL,
  PRIMARY KEY (origin, digest)
);
CREATE INDEX rota_deploys_at ON rota_deploys (origin, at);
