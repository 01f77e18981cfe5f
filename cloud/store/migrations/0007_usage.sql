-- Validated usage of a usage point: derived from raw readings and installations, nothing else, so
-- that it can be thrown away and made again byte for byte.
CREATE SCHEMA usage;

-- cumulative_wh grows across meter exchange and rollover; wh is what the meter showed.
CREATE TABLE usage.register (
    usage_point text NOT NULL,
    at timestamptz NOT NULL,
    meter text NOT NULL,
    wh bigint NOT NULL,
    cumulative_wh bigint NOT NULL,
    quality text NOT NULL,
    CONSTRAINT register_pk PRIMARY KEY (usage_point, at),
    CONSTRAINT register_quality_known CHECK (
        quality IN ('raw', 'valid', 'estimated', 'edited', 'questionable'))
);

CREATE TABLE usage.interval (
    usage_point text NOT NULL,
    start timestamptz NOT NULL,
    seconds integer NOT NULL,
    wh bigint NOT NULL,
    quality text NOT NULL,
    CONSTRAINT interval_pk PRIMARY KEY (usage_point, start),
    CONSTRAINT interval_quality_known CHECK (
        quality IN ('raw', 'valid', 'estimated', 'edited', 'questionable')),
    CONSTRAINT interval_seconds_positive CHECK (seconds > 0)
);

GRANT USAGE ON SCHEMA usage TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT SELECT ON usage.register, usage.interval TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE, DELETE ON usage.register TO meterloop_ingest;
GRANT INSERT, UPDATE, DELETE ON usage.interval TO meterloop_ingest;
