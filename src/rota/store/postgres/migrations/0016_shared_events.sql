-- expand
-- Events that differ in nothing but their jobs share a row: it has the last one's number and job, and here the jobs of those before it.
ALTER TABLE rota_events ADD COLUMN others text;
CREATE INDEX rota_events_shared ON rota_events (at) WHERE others IS NOT NULL;
