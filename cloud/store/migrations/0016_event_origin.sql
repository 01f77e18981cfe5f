-- Two entries of a meter's logs may mean the same to us at one instant: they are two events, told
-- apart by where the meter wrote them (profile, log, number).
ALTER TABLE ingest.event DROP CONSTRAINT event_pk;
ALTER TABLE ingest.event ADD CONSTRAINT event_pk PRIMARY KEY (meter, code, at, origin);
