-- Raw readings as they came, each batch's account of itself, and what could not be believed.
CREATE SCHEMA ingest;

-- One row per batch; the sum is the conservation law of custody: no row of a batch may vanish.
-- momentary rows only refresh ingest.momentary; reports are relay states and events.
CREATE TABLE ingest.batch (
    concentrator text NOT NULL,
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    digest bytea NOT NULL,
    custody text NOT NULL,
    made_at timestamptz,
    received_at timestamptz NOT NULL,
    received_wall timestamptz NOT NULL,
    rows integer NOT NULL,
    stored integer NOT NULL,
    duplicates integer NOT NULL,
    momentary integer NOT NULL,
    quarantined integer NOT NULL,
    reports integer NOT NULL,
    reports_quarantined integer NOT NULL,
    CONSTRAINT batch_pk PRIMARY KEY (concentrator, boot, seq),
    CONSTRAINT batch_custody_known CHECK (custody IN ('stored', 'quarantined')),
    CONSTRAINT batch_counts_not_negative CHECK (
        least(rows, stored, duplicates, momentary, quarantined, reports, reports_quarantined) >= 0),
    CONSTRAINT batch_conserves_rows CHECK (
        rows = stored + duplicates + momentary + quarantined)
);

-- Cumulative energy as the meter showed it; at is device time.
CREATE TABLE ingest.register_reading (
    meter text NOT NULL,
    channel smallint NOT NULL,
    at timestamptz NOT NULL,
    wh bigint NOT NULL,
    status bigint NOT NULL,
    received_at timestamptz NOT NULL,
    concentrator text NOT NULL,
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT register_reading_pk PRIMARY KEY (meter, channel, at),
    CONSTRAINT register_reading_channel CHECK (channel IN (1, 2)),
    CONSTRAINT register_reading_not_negative CHECK (wh >= 0)
);

-- Energy of [start, start + seconds), device time.
CREATE TABLE ingest.interval_reading (
    meter text NOT NULL,
    channel smallint NOT NULL,
    start timestamptz NOT NULL,
    seconds integer NOT NULL,
    wh bigint NOT NULL,
    status bigint NOT NULL,
    received_at timestamptz NOT NULL,
    concentrator text NOT NULL,
    boot bigint NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT interval_reading_pk PRIMARY KEY (meter, channel, start),
    CONSTRAINT interval_reading_channel CHECK (channel IN (3, 4)),
    CONSTRAINT interval_reading_seconds CHECK (seconds > 0),
    CONSTRAINT interval_reading_not_negative CHECK (wh >= 0)
);

-- Only the newest of each momentary channel.
CREATE TABLE ingest.momentary (
    meter text NOT NULL,
    channel smallint NOT NULL,
    at timestamptz NOT NULL,
    value bigint NOT NULL,
    CONSTRAINT momentary_pk PRIMARY KEY (meter, channel)
);

-- When each meter was last heard of, by its own clock and by the concentrator's.
CREATE TABLE ingest.meter_seen (
    meter text NOT NULL,
    last_at timestamptz NOT NULL,
    last_received timestamptz NOT NULL,
    CONSTRAINT meter_seen_pk PRIMARY KEY (meter)
);

-- The switch as last reported, and every report that differed from the one before it.
CREATE TABLE ingest.relay_report (
    meter text NOT NULL,
    at timestamptz NOT NULL,
    output_closed boolean NOT NULL,
    control_state smallint NOT NULL,
    control_mode smallint NOT NULL,
    CONSTRAINT relay_report_pk PRIMARY KEY (meter),
    CONSTRAINT relay_report_state_known CHECK (control_state IN (0, 1, 2))
);
CREATE TABLE ingest.relay_change (
    id bigint GENERATED ALWAYS AS IDENTITY,
    meter text NOT NULL,
    at timestamptz NOT NULL,
    output_closed boolean NOT NULL,
    control_state smallint NOT NULL,
    control_mode smallint NOT NULL,
    CONSTRAINT relay_change_pk PRIMARY KEY (id),
    CONSTRAINT relay_change_once UNIQUE (meter, at)
);

CREATE TABLE ingest.event (
    meter text NOT NULL,
    code text NOT NULL,
    at timestamptz NOT NULL,
    origin text NOT NULL,
    detail text NOT NULL,
    received_at timestamptz NOT NULL,
    CONSTRAINT event_pk PRIMARY KEY (meter, code, at)
);
CREATE INDEX event_received ON ingest.event (received_at);

-- The octets of payloads that hold something quarantined, once each.
CREATE TABLE ingest.payload (
    digest bytea NOT NULL,
    topic text NOT NULL,
    content_type text NOT NULL,
    octets bytea NOT NULL,
    CONSTRAINT payload_pk PRIMARY KEY (digest)
);

-- What could not be believed: a whole payload (row IS NULL) or one row of a batch.
CREATE TABLE ingest.quarantine (
    id bigint GENERATED ALWAYS AS IDENTITY,
    concentrator text NOT NULL,
    boot bigint,
    seq bigint,
    cause text NOT NULL,
    detail text NOT NULL,
    digest bytea NOT NULL,
    row jsonb,
    received_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'open',
    settled_at timestamptz,
    settled_by text NOT NULL DEFAULT '',
    CONSTRAINT quarantine_pk PRIMARY KEY (id),
    CONSTRAINT quarantine_payload_fk FOREIGN KEY (digest) REFERENCES ingest.payload (digest),
    CONSTRAINT quarantine_state_known CHECK (state IN ('open', 'redriven', 'dismissed')),
    CONSTRAINT quarantine_settled_whole CHECK (
        (state = 'open') = (settled_at IS NULL) AND (state = 'open') = (settled_by = ''))
);
CREATE UNIQUE INDEX quarantine_payload_once ON ingest.quarantine (concentrator, digest, cause)
    WHERE row IS NULL;
CREATE INDEX quarantine_open ON ingest.quarantine (id) WHERE state = 'open';
CREATE INDEX quarantine_batch ON ingest.quarantine (concentrator, boot, seq);

CREATE FUNCTION ingest.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append_only: % is append-only', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;
CREATE TRIGGER register_reading_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON ingest.register_reading FOR EACH STATEMENT EXECUTE FUNCTION ingest.refuse_change();
CREATE TRIGGER interval_reading_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON ingest.interval_reading FOR EACH STATEMENT EXECUTE FUNCTION ingest.refuse_change();
CREATE TRIGGER payload_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON ingest.payload FOR EACH STATEMENT EXECUTE FUNCTION ingest.refuse_change();

GRANT USAGE ON SCHEMA ingest TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT SELECT ON ALL TABLES IN SCHEMA ingest TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT INSERT ON ALL TABLES IN SCHEMA ingest TO meterloop_ingest;
GRANT UPDATE ON
    ingest.batch, ingest.momentary, ingest.meter_seen, ingest.relay_report, ingest.quarantine
    TO meterloop_ingest;
-- settling quarantine is done by people at screens
GRANT UPDATE (state, settled_at, settled_by) ON ingest.quarantine TO meterloop_portal;
