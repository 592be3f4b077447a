-- expand
-- How many starts a queue gets for each of others of the same priority that a worker serves.
ALTER TABLE rota_queues ADD COLUMN weight double precision CHECK (weight BETWEEN 0.001 AND 1000);
