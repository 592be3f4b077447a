-- The trace that a job belongs to, as its submitter has named it (W3C Trace Context).
ALTER TABLE rota_jobs ADD COLUMN traceparent TEXT;
