-- What hangs on the network: transformer > usage point; meter and concentrator; who hung where when.
CREATE SCHEMA assets;
CREATE EXTENSION IF NOT EXISTS btree_gist;

CREATE TABLE assets.transformer (
    id text NOT NULL,
    name text NOT NULL DEFAULT '',
    unit text,
    CONSTRAINT transformer_pk PRIMARY KEY (id),
    CONSTRAINT transformer_unit_fk FOREIGN KEY (unit) REFERENCES org.unit (id)
);

-- capacity_w is what the contract allows: more in an interval is questionable, not impossible.
CREATE TABLE assets.usage_point (
    id text NOT NULL,
    kind text NOT NULL,
    transformer text NOT NULL,
    zone text NOT NULL,
    capacity_w bigint,
    CONSTRAINT usage_point_pk PRIMARY KEY (id),
    CONSTRAINT usage_point_transformer_fk FOREIGN KEY (transformer)
        REFERENCES assets.transformer (id),
    CONSTRAINT usage_point_kind_known CHECK (kind IN ('customer', 'head')),
    CONSTRAINT usage_point_capacity_positive CHECK (capacity_w > 0)
);
CREATE INDEX usage_point_transformer ON assets.usage_point (transformer);

CREATE TABLE assets.concentrator (
    id text NOT NULL,
    name text NOT NULL DEFAULT '',
    CONSTRAINT concentrator_pk PRIMARY KEY (id)
);

-- rollover_wh: the register counts 0 .. rollover_wh - 1 and starts again; NULL when it never does.
-- max_w: what the meter can physically count; a register that ran faster is wrong.
CREATE TABLE assets.meter (
    id text NOT NULL,
    model text NOT NULL,
    protocol text NOT NULL,
    rollover_wh bigint,
    max_w bigint NOT NULL,
    has_relay boolean NOT NULL,
    can_close_remotely boolean NOT NULL,
    interval_seconds integer,
    control_mode smallint,
    CONSTRAINT meter_pk PRIMARY KEY (id),
    CONSTRAINT meter_protocol_known CHECK (protocol IN ('dlms', 'modbus', 'dlt645', 'manual')),
    CONSTRAINT meter_rollover_positive CHECK (rollover_wh > 1000),
    CONSTRAINT meter_max_power_sane CHECK (max_w BETWEEN 1000 AND 5000000),
    CONSTRAINT meter_interval_divides_day CHECK (
        interval_seconds > 0 AND mod(86400, interval_seconds) = 0),
    CONSTRAINT meter_control_mode_known CHECK (control_mode BETWEEN 0 AND 6),
    CONSTRAINT meter_closes_only_with_relay CHECK (has_relay OR NOT can_close_remotely)
);

-- A meter at a usage point over [installed_at, removed_at). initial_wh and final_wh are what the
-- fitter read; where nobody wrote them down, the first and last register readings stand for them.
CREATE TABLE assets.installation (
    id bigint GENERATED ALWAYS AS IDENTITY,
    meter text NOT NULL,
    usage_point text NOT NULL,
    concentrator text NOT NULL,
    installed_at timestamptz NOT NULL,
    removed_at timestamptz,
    initial_wh bigint,
    final_wh bigint,
    CONSTRAINT installation_pk PRIMARY KEY (id),
    CONSTRAINT installation_meter_fk FOREIGN KEY (meter) REFERENCES assets.meter (id),
    CONSTRAINT installation_usage_point_fk FOREIGN KEY (usage_point)
        REFERENCES assets.usage_point (id),
    CONSTRAINT installation_concentrator_fk FOREIGN KEY (concentrator)
        REFERENCES assets.concentrator (id),
    -- two meters never share a usage point, nor one meter two places, at any instant
    CONSTRAINT installation_meter_once
        EXCLUDE USING gist (meter WITH =, tstzrange(installed_at, removed_at) WITH &&),
    CONSTRAINT installation_usage_point_once
        EXCLUDE USING gist (usage_point WITH =, tstzrange(installed_at, removed_at) WITH &&),
    CONSTRAINT installation_forward CHECK (removed_at > installed_at),
    CONSTRAINT installation_registers_positive CHECK (initial_wh >= 0 AND final_wh >= 0)
);
CREATE UNIQUE INDEX installation_meter_open
    ON assets.installation (meter) WHERE removed_at IS NULL;
CREATE UNIQUE INDEX installation_usage_point_open
    ON assets.installation (usage_point) WHERE removed_at IS NULL;
CREATE INDEX installation_concentrator
    ON assets.installation (concentrator) WHERE removed_at IS NULL;
CREATE INDEX installation_meter ON assets.installation (meter, installed_at);
CREATE INDEX installation_usage_point ON assets.installation (usage_point, installed_at);

GRANT USAGE ON SCHEMA assets TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT SELECT ON ALL TABLES IN SCHEMA assets TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT INSERT ON ALL TABLES IN SCHEMA assets TO meterloop_portal;
GRANT UPDATE (removed_at, final_wh) ON assets.installation TO meterloop_portal;
