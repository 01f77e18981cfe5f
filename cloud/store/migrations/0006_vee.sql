-- What validation found: gaps, silent meters, missing registers. Rows stay; closing is a fact too.
CREATE SCHEMA vee;

-- How far the intervals of a meter reach; between first and newest, what is not there is a gap.
CREATE TABLE vee.coverage (
    meter text NOT NULL,
    channel smallint NOT NULL,
    first_start timestamptz NOT NULL,
    newest_start timestamptz NOT NULL,
    seconds integer NOT NULL,
    CONSTRAINT coverage_pk PRIMARY KEY (meter, channel),
    CONSTRAINT coverage_forward CHECK (newest_start >= first_start)
);

-- range_start .. range_end is what is missing or in doubt, half-open.
CREATE TABLE vee.exception (
    id bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    meter text NOT NULL,
    usage_point text NOT NULL,
    channel smallint NOT NULL DEFAULT 0,
    range_start timestamptz NOT NULL,
    range_end timestamptz NOT NULL,
    detail text NOT NULL DEFAULT '',
    opened_at timestamptz NOT NULL,
    closed_at timestamptz,
    CONSTRAINT exception_pk PRIMARY KEY (id),
    CONSTRAINT exception_kind_known CHECK (kind IN ('gap', 'silent', 'missing_registers')),
    CONSTRAINT exception_forward CHECK (range_end > range_start)
);
CREATE UNIQUE INDEX exception_gap_open
    ON vee.exception (meter, channel, range_start) WHERE closed_at IS NULL AND kind = 'gap';
CREATE UNIQUE INDEX exception_meter_open
    ON vee.exception (kind, meter) WHERE closed_at IS NULL AND kind <> 'gap';
CREATE INDEX exception_opened ON vee.exception (opened_at);

GRANT USAGE ON SCHEMA vee TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT SELECT ON ALL TABLES IN SCHEMA vee TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE ON vee.coverage, vee.exception TO meterloop_ingest;
