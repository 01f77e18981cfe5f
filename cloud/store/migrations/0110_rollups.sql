-- Roll-ups of usage: days, months and reading cycles, as versions. A version is never altered: when
-- what it was made of changes, another one follows, and a record says what made it change.
CREATE SCHEMA rollups;

-- What has changed of which civil days, one row per transaction that changed it. It is written
-- without a key, so those who write never wait for one another.
CREATE TABLE rollups.touched (
    no bigint GENERATED ALWAYS AS IDENTITY,
    cause text NOT NULL,
    reference text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    usage_points text[] NOT NULL,
    days date[] NOT NULL,
    readings integer[] NOT NULL,
    first_ms bigint[] NOT NULL,
    last_ms bigint[] NOT NULL,
    CONSTRAINT touched_pk PRIMARY KEY (no),
    CONSTRAINT touched_cause_known CHECK (
        cause IN ('reading', 'validation', 'edit', 'assets', 'request')),
    CONSTRAINT touched_equally_long CHECK (
        cardinality(usage_points) = cardinality(days)
        AND cardinality(usage_points) = cardinality(readings)
        AND cardinality(usage_points) = cardinality(first_ms)
        AND cardinality(usage_points) = cardinality(last_ms))
);

-- What waits to be rolled up; written by whoever holds the lock of the roll-ups, by nobody else.
CREATE TABLE rollups.dirty (
    usage_point text NOT NULL,
    day date NOT NULL,
    due_at timestamptz NOT NULL,
    cause text NOT NULL,
    reference text NOT NULL,
    actor text NOT NULL,
    noted_at timestamptz NOT NULL,
    readings integer NOT NULL,
    first_ms bigint NOT NULL,
    last_ms bigint NOT NULL,
    CONSTRAINT dirty_pk PRIMARY KEY (usage_point, day)
);
CREATE INDEX dirty_due ON rollups.dirty (due_at, usage_point);

-- The next civil day of a zone whose points have not all been put on the list by themselves.
CREATE TABLE rollups.horizon (
    zone text NOT NULL,
    next_day date NOT NULL,
    CONSTRAINT horizon_pk PRIMARY KEY (zone)
);

-- One civil day. wh follows from the registers at or before its two midnights, or from intervals.
CREATE TABLE rollups.day (
    usage_point text NOT NULL,
    day date NOT NULL,
    version integer NOT NULL,
    known_at timestamptz NOT NULL,
    zone text NOT NULL,
    slots smallint NOT NULL,
    missing smallint NOT NULL,
    slot_qualities smallint NOT NULL,
    from_quality smallint NOT NULL,
    to_quality smallint NOT NULL,
    basis smallint NOT NULL,
    interval_wh bigint,
    from_at timestamptz,
    from_wh bigint,
    to_at timestamptz,
    to_wh bigint,
    wh bigint,
    CONSTRAINT day_pk PRIMARY KEY (usage_point, day, version),
    CONSTRAINT day_missing_of_slots CHECK (0 <= missing AND missing <= slots),
    CONSTRAINT day_qualities_known CHECK (
        slot_qualities BETWEEN 0 AND 31 AND from_quality BETWEEN 0 AND 31
        AND to_quality BETWEEN 0 AND 31),
    CONSTRAINT day_bounds_whole CHECK (
        (from_at IS NULL) = (from_wh IS NULL) AND (to_at IS NULL) = (to_wh IS NULL)),
    CONSTRAINT day_wh_says_its_basis CHECK (
        (basis = 0 AND wh IS NULL)
        OR (basis = 1 AND wh = to_wh - from_wh AND from_at <= to_at)
        OR (basis = 2 AND wh = interval_wh))
);
COMMENT ON COLUMN rollups.day.slot_qualities IS
    'set of qualities: 1 raw, 2 valid, 4 estimated, 8 edited, 16 questionable';
COMMENT ON COLUMN rollups.day.basis IS '0 not known, 1 registers, 2 intervals';
CREATE TRIGGER day_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rollups.day
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Days [first_day, until_day) of one point together: a month, or one reading cycle.
CREATE TABLE rollups.period (
    usage_point text NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    version integer NOT NULL,
    known_at timestamptz NOT NULL,
    first_day date NOT NULL,
    until_day date NOT NULL,
    days smallint NOT NULL,
    days_told smallint NOT NULL,
    slots integer NOT NULL,
    missing integer NOT NULL,
    slot_qualities smallint NOT NULL,
    register_qualities smallint NOT NULL,
    bases smallint NOT NULL,
    interval_wh bigint,
    from_at timestamptz,
    from_wh bigint,
    to_at timestamptz,
    to_wh bigint,
    wh bigint,
    CONSTRAINT period_pk PRIMARY KEY (usage_point, kind, name, version),
    CONSTRAINT period_kind_known CHECK (kind IN ('month', 'cycle')),
    CONSTRAINT period_not_empty CHECK (first_day < until_day),
    CONSTRAINT period_days_of_span CHECK (
        days = until_day - first_day AND 0 <= days_told AND days_told <= days),
    CONSTRAINT period_missing_of_slots CHECK (0 <= missing AND missing <= slots),
    CONSTRAINT period_known_if_a_day_is CHECK ((wh IS NULL) = (days_told = 0))
);
CREATE INDEX period_days ON rollups.period (usage_point, first_day);
CREATE TRIGGER period_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rollups.period
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Closed reading cycles whose points have their roll-ups.
CREATE TABLE rollups.cycle_seen (
    cycle bigint NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT cycle_seen_pk PRIMARY KEY (cycle)
);

-- Why a day has another version. carried_from: the day before it whose register moved.
CREATE TABLE rollups.recompute (
    id bigint GENERATED ALWAYS AS IDENTITY,
    usage_point text NOT NULL,
    day date NOT NULL,
    cause text NOT NULL,
    reference text NOT NULL,
    actor text NOT NULL,
    noted_at timestamptz NOT NULL,
    readings integer NOT NULL,
    first_ms bigint NOT NULL,
    last_ms bigint NOT NULL,
    carried_from date,
    before_version integer,
    after_version integer NOT NULL,
    periods jsonb NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT recompute_pk PRIMARY KEY (id),
    CONSTRAINT recompute_once UNIQUE (usage_point, day, after_version),
    CONSTRAINT recompute_after_fk FOREIGN KEY (usage_point, day, after_version)
        REFERENCES rollups.day (usage_point, day, version),
    CONSTRAINT recompute_forward CHECK (before_version < after_version),
    CONSTRAINT recompute_carried_by_a_day CHECK ((cause = 'carried') = (carried_from IS NOT NULL))
);
CREATE TRIGGER recompute_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rollups.recompute
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- What in billing had used the day, as billing itself told.
CREATE TABLE rollups.looked (
    recompute bigint NOT NULL,
    at timestamptz NOT NULL,
    found integer NOT NULL,
    CONSTRAINT looked_pk PRIMARY KEY (recompute),
    CONSTRAINT looked_recompute_fk FOREIGN KEY (recompute) REFERENCES rollups.recompute (id)
);
CREATE TABLE rollups.dependent (
    recompute bigint NOT NULL,
    n smallint NOT NULL,
    kind text NOT NULL,
    reference text NOT NULL,
    account text NOT NULL,
    state text NOT NULL,
    wh_before bigint,
    wh_after bigint,
    currency text NOT NULL,
    micros_before bigint,
    micros_after bigint,
    CONSTRAINT dependent_pk PRIMARY KEY (recompute, n),
    CONSTRAINT dependent_looked_fk FOREIGN KEY (recompute) REFERENCES rollups.looked (recompute),
    CONSTRAINT dependent_kind_known CHECK (kind IN ('drawn_day', 'balance', 'bill_item', 'bill'))
);
CREATE TRIGGER looked_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rollups.looked
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER dependent_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON rollups.dependent
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT USAGE ON SCHEMA rollups TO meterloop_ingest, meterloop_billing, meterloop_portal;
GRANT SELECT ON ALL TABLES IN SCHEMA rollups TO
    meterloop_ingest, meterloop_billing, meterloop_portal;
-- the ingest process rolls up; a person's edit on a page only marks what it touched
GRANT INSERT ON rollups.touched TO meterloop_ingest, meterloop_portal;
GRANT DELETE ON rollups.touched TO meterloop_ingest;
GRANT INSERT, UPDATE, DELETE ON rollups.dirty, rollups.horizon TO meterloop_ingest;
GRANT INSERT ON rollups.day, rollups.period, rollups.recompute, rollups.cycle_seen TO meterloop_ingest;
GRANT INSERT ON rollups.looked, rollups.dependent TO meterloop_billing;
