-- How far each partition of a log is stored, written in the transaction of the rows themselves. A
-- log that lost everything has another cluster id, so its places begin anew.
CREATE TABLE ingest.kafka_position (
    cluster text NOT NULL,
    topic text NOT NULL,
    partition int NOT NULL,
    next_offset bigint NOT NULL,
    stored_at timestamptz NOT NULL,
    CONSTRAINT kafka_position_pk PRIMARY KEY (cluster, topic, partition),
    CONSTRAINT kafka_position_counts CHECK (partition >= 0 AND next_offset >= 0)
) WITH (fillfactor = 50);
COMMENT ON COLUMN ingest.kafka_position.next_offset IS 'the first record that is not stored yet';
COMMENT ON COLUMN ingest.kafka_position.stored_at IS 'business time';

GRANT SELECT ON ingest.kafka_position TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE ON ingest.kafka_position TO meterloop_ingest;
