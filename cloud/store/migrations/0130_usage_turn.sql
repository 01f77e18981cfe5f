-- When somebody else than ingest last changed segments or newest registers of a concentrator's usage
-- points: workers remember both beside what they know of its meters, and ask anew where the stamp is
-- another than the one they saw. Written and asked under the concentrator's advisory lock.
CREATE TABLE usage.turn (
    concentrator text NOT NULL,
    stamp bigint NOT NULL,
    CONSTRAINT turn_pk PRIMARY KEY (concentrator)
);
COMMENT ON COLUMN usage.turn.stamp IS 'drawn at random, so that no restored database repeats one';
GRANT SELECT, INSERT, UPDATE ON usage.turn TO meterloop_ingest, meterloop_portal;
