-- What validation or a person says over raw values, in versions, never overwritten.

-- One row per usage point, civil day, layer, interval length and version. Layer `machine` holds
-- estimates and doubts: the newest version of a day says all there is of that day. Layer `person`
-- holds edits and cancellations: of each slot the newest row that names it counts. `offset_s` is
-- where a slot starts after `since`; kind 1 estimate, 2 edit, 3 cancel, 4 suspect. `wh` of an
-- estimate lies in [low_wh, high_wh]; of a suspect it is the raw value, of a cancellation 0.
CREATE TABLE vee.overlay (
    usage_point text NOT NULL,
    day date NOT NULL,
    layer text NOT NULL,
    seconds integer NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    since timestamptz NOT NULL,
    offset_s integer[] NOT NULL,
    kind smallint[] NOT NULL,
    wh bigint[] NOT NULL,
    low_wh bigint[] NOT NULL,
    high_wh bigint[] NOT NULL,
    made jsonb NOT NULL DEFAULT '[]',
    rule_set text NOT NULL DEFAULT '',
    rule_hash text NOT NULL DEFAULT '',
    actor text NOT NULL,
    verified_by text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    CONSTRAINT overlay_pk PRIMARY KEY (usage_point, day, layer, seconds, version),
    CONSTRAINT overlay_layer_known CHECK (layer IN ('machine', 'person')),
    CONSTRAINT overlay_kind_of_layer CHECK (
        kind <@ CASE layer WHEN 'machine' THEN '{1,4}'::smallint[] ELSE '{2,3}'::smallint[] END),
    CONSTRAINT overlay_columns_equal CHECK (
        cardinality(offset_s) = cardinality(kind) AND cardinality(kind) = cardinality(wh)
        AND cardinality(wh) = cardinality(low_wh) AND cardinality(low_wh) = cardinality(high_wh)),
    CONSTRAINT overlay_seconds_positive CHECK (seconds > 0),
    CONSTRAINT overlay_two_people CHECK (
        layer = 'machine' OR (verified_by <> '' AND verified_by <> actor AND reason <> ''))
);

-- The same for registers, which are few: one row per value and version. `wh` is the usage point's
-- cumulative register, 0 where it is cancelled.
CREATE TABLE vee.register_overlay (
    usage_point text NOT NULL,
    at timestamptz NOT NULL,
    layer text NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    kind smallint NOT NULL,
    wh bigint NOT NULL,
    method text NOT NULL DEFAULT '',
    rule_set text NOT NULL DEFAULT '',
    actor text NOT NULL,
    verified_by text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    CONSTRAINT register_overlay_pk PRIMARY KEY (usage_point, at, layer, version),
    CONSTRAINT register_overlay_layer_known CHECK (layer IN ('machine', 'person')),
    CONSTRAINT register_overlay_kind_of_layer CHECK (
        CASE layer WHEN 'machine' THEN kind IN (1, 4) ELSE kind IN (2, 3) END),
    CONSTRAINT register_overlay_two_people CHECK (
        layer = 'machine' OR (verified_by <> '' AND verified_by <> actor AND reason <> ''))
);

CREATE TRIGGER overlay_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vee.overlay
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER register_overlay_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON vee.register_overlay FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT SELECT ON vee.overlay, vee.register_overlay TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT ON vee.overlay, vee.register_overlay TO meterloop_ingest, meterloop_portal;
