-- Usage by reference: whose series speak for a usage point when, with what offset and factor. No
-- row per reading is kept any more; what is said over raw values stands in vee.

-- By how much a meter's figures are multiplied (current and voltage transformers), from an instant
-- on. register_wh is what the meter showed then, where somebody wrote it down. Never altered.
CREATE TABLE assets.ratio (
    usage_point text NOT NULL,
    valid_from timestamptz NOT NULL,
    numerator integer NOT NULL,
    denominator integer NOT NULL,
    register_wh bigint,
    actor text NOT NULL,
    reason text NOT NULL,
    created_at timestamptz NOT NULL,
    CONSTRAINT ratio_pk PRIMARY KEY (usage_point, valid_from),
    CONSTRAINT ratio_usage_point_fk FOREIGN KEY (usage_point) REFERENCES assets.usage_point (id),
    CONSTRAINT ratio_sane CHECK (numerator BETWEEN 1 AND 1000000
                                 AND denominator BETWEEN 1 AND 1000000),
    CONSTRAINT ratio_register_positive CHECK (register_wh >= 0),
    CONSTRAINT ratio_reason_given CHECK (reason <> '')
);
CREATE TRIGGER ratio_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON assets.ratio
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
GRANT SELECT ON assets.ratio TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT INSERT ON assets.ratio TO meterloop_portal;

-- In [since, until) usage = figure x numerator / denominator (+ offset_wh for registers). Versions:
-- a row speaks from known_at until void_at. lone: its point has no other; capacity_w 0 is unknown.
CREATE TABLE usage.segment (
    id bigint GENERATED ALWAYS AS IDENTITY,
    usage_point text NOT NULL,
    meter text NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    offset_wh bigint NOT NULL,
    numerator integer NOT NULL DEFAULT 1,
    denominator integer NOT NULL DEFAULT 1,
    capacity_w bigint NOT NULL DEFAULT 0,
    lone boolean NOT NULL,
    known_at timestamptz NOT NULL,
    void_at timestamptz,
    CONSTRAINT segment_pk PRIMARY KEY (id),
    CONSTRAINT segment_forward CHECK (until > since),
    CONSTRAINT segment_factor_positive CHECK (numerator > 0 AND denominator > 0)
);
CREATE UNIQUE INDEX segment_stands ON usage.segment (usage_point, since) WHERE void_at IS NULL;
CREATE INDEX segment_meter ON usage.segment (meter) WHERE void_at IS NULL;
CREATE INDEX segment_void ON usage.segment (usage_point) WHERE void_at IS NOT NULL;

-- A row says what it said for ever; all that may happen to it is that it speaks no more.
CREATE FUNCTION usage.only_voided() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.void_at IS NOT NULL OR NEW.void_at IS NULL
       OR (to_jsonb(NEW) - 'void_at') <> (to_jsonb(OLD) - 'void_at') THEN
        RAISE EXCEPTION 'append_only: a segment can only be made void'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER segment_only_voided BEFORE UPDATE OR DELETE ON usage.segment
    FOR EACH ROW EXECUTE FUNCTION usage.only_voided();

-- What stood in the table of one row per register: cumulative less figure is the offset, constant
-- over each stretch of an installation; it changes where the register rolled over.
INSERT INTO usage.segment
    (usage_point, meter, since, until, offset_wh, capacity_w, lone, known_at)
SELECT s.usage_point, s.meter, s.since,
       coalesce(lead(s.since) OVER (PARTITION BY s.installation ORDER BY s.since), s.removed_at),
       s.offset_wh, coalesce(p.capacity_w, 0),
       count(*) OVER (PARTITION BY s.usage_point) = 1, 'epoch'
FROM (
    SELECT m.installation, m.usage_point, m.meter, m.removed_at, coalesce(m.offset_wh, 0) AS offset_wh,
           CASE WHEN m.k = 1 THEN m.installed_at
                ELSE m.at_before + interval '1 millisecond' END AS since
    FROM (
        SELECT i.id AS installation, i.usage_point, i.meter, i.installed_at,
               coalesce(i.removed_at, 'infinity') AS removed_at, r.at,
               r.cumulative_wh - r.wh AS offset_wh,
               lag(r.cumulative_wh - r.wh) OVER w AS before, lag(r.at) OVER w AS at_before,
               row_number() OVER w AS k
        FROM assets.installation AS i
        LEFT JOIN usage.register AS r ON r.usage_point = i.usage_point AND r.meter = i.meter
            AND r.at >= i.installed_at AND r.at <= coalesce(i.removed_at, 'infinity')
        WINDOW w AS (PARTITION BY i.id ORDER BY r.at)
    ) AS m
    WHERE m.k = 1 OR m.before <> m.offset_wh
) AS s
LEFT JOIN assets.usage_point AS p ON p.id = s.usage_point;

-- quality: 0 raw, 1 valid, 2 estimated, 3 edited, 4 questionable; meter and wh: the figure the
-- register rests on; day_ms and opening_wh: the civil day of the register and where it began;
-- overlaid: something is said over registers of the point.
ALTER TABLE usage.newest
    ADD COLUMN quality smallint NOT NULL DEFAULT 1, ADD COLUMN meter text NOT NULL DEFAULT '',
    ADD COLUMN wh bigint NOT NULL DEFAULT 0, ADD COLUMN day_ms bigint NOT NULL DEFAULT -1,
    ADD COLUMN opening_wh bigint NOT NULL DEFAULT 0,
    ADD COLUMN overlaid boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT newest_quality_known CHECK (quality BETWEEN 0 AND 4);
UPDATE usage.newest AS n
SET meter = r.meter, wh = r.wh, quality = CASE WHEN n.questionable THEN 4 ELSE 1 END
FROM usage.register AS r
WHERE r.usage_point = n.usage_point AND r.at = 'epoch'::timestamptz + n.at_ms * interval '1 millisecond';

DROP TABLE usage.register;
DROP TABLE usage.interval;
DROP FUNCTION usage.note_newest();
DROP FUNCTION usage.forget_newest();

GRANT SELECT ON usage.segment TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE ON usage.segment, usage.newest TO meterloop_ingest, meterloop_portal;
