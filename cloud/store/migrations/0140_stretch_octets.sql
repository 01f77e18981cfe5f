-- Balances on tariffs of periods, ready to be sent to a sweep as the others are: the day that is open
-- beside each state, and of each open stretch what its price is made of.

-- As before, and: the day that is open, counted as the first of January of the year 1 is day 1.
CREATE OR REPLACE FUNCTION prepaid.note_hot() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = prepaid, pg_temp AS $$
BEGIN
    INSERT INTO prepaid.hot AS h (point, octets)
    SELECT s.point,
           int8send(s.point) || int8send(s.ledger_account_id) || int8send(s.segment_register_wh)
           || int8send(s.segment_year_wh) || int8send(s.segment_fee_before_micros)
           || int8send(s.register_wh) || timestamptz_send(s.register_at)
           || int8send(s.fee_micros) || int8send(s.drawn_micros) || int8send(s.available_micros)
           || int8send(
               (s.tariff_no::bigint << 32) + (s.tier::bigint << 8)
               + s.below_reminder::integer + 2 * s.below_zero::integer + 4 * s.below_cut::integer
               + CASE s.quality WHEN 'actual' THEN 0 WHEN 'estimated' THEN 8 ELSE 16 END)
           || int8send((s.open_day - date '0001-01-01' + 1)::bigint)
    FROM fresh AS s
    ON CONFLICT (point) DO UPDATE SET octets = excluded.octets WHERE h.octets <> excluded.octets;
    RETURN NULL;
END
$$;
UPDATE prepaid.state SET point = point;

-- Most agreements have one of a few shapes: columns name it by a number.
CREATE TABLE prepaid.shape (
    shape_no integer GENERATED ALWAYS AS IDENTITY,
    shape text NOT NULL,
    CONSTRAINT shape_pk PRIMARY KEY (shape_no),
    CONSTRAINT shape_unique UNIQUE (shape)
);

-- The narrow part of each open stretch.
CREATE TABLE prepaid.hot_stretch (
    point bigint NOT NULL,
    periods integer NOT NULL,
    hourly boolean NOT NULL,
    octets bytea NOT NULL,
    CONSTRAINT hot_stretch_pk PRIMARY KEY (point)
) WITH (fillfactor = 85);
COMMENT ON COLUMN prepaid.hot_stretch.octets IS
    'big-endian int64, see prepaid.note_hot_stretch; kept by the statements that write open_stretch';
CREATE INDEX hot_stretch_hourly ON prepaid.hot_stretch (point) WHERE hourly;

-- Definer's rights: nobody writes it by any other road. Counters come by reset, then by TouPeriod;
-- one that is not named is 0.
CREATE FUNCTION prepaid.note_hot_stretch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = prepaid, pg_temp AS $$
BEGIN
    -- numbers are not used up where the shape is known
    INSERT INTO prepaid.shape (shape)
    SELECT DISTINCT o.shape FROM fresh AS o
    WHERE NOT EXISTS (SELECT 1 FROM prepaid.shape AS k WHERE k.shape = o.shape)
    ON CONFLICT (shape) DO NOTHING;
    INSERT INTO prepaid.hot_stretch AS h (point, periods, hourly, octets)
    SELECT o.point, cardinality(o.day_wh), o.hourly,
           int8send(o.point) || int8send((o.start_day - date '0001-01-01' + 1)::bigint)
           || int8send((SELECT k.shape_no FROM prepaid.shape AS k WHERE k.shape = o.shape)::bigint)
           || int8send((extract(epoch FROM o.day_at) * 1000)::bigint)
           || (SELECT string_agg(
                   int8send(coalesce((o.before_wh -> r.reset ->> (p.n - 1))::bigint, 0)), ''
                   ORDER BY r.place, p.n)
               FROM unnest(ARRAY['period', 'calendar_year', 'tariff_year', 'purchase_month'])
                   WITH ORDINALITY AS r (reset, place)
               CROSS JOIN generate_series(1, cardinality(o.day_wh)) AS p (n))
           || (SELECT string_agg(int8send(d.wh), '' ORDER BY d.place)
               FROM unnest(o.day_wh) WITH ORDINALITY AS d (wh, place))
    FROM fresh AS o
    ON CONFLICT (point) DO UPDATE
    SET periods = excluded.periods, hourly = excluded.hourly, octets = excluded.octets
    WHERE h.octets <> excluded.octets OR h.periods <> excluded.periods
       OR h.hourly <> excluded.hourly;
    RETURN NULL;
END
$$;
CREATE FUNCTION prepaid.forget_hot_stretch() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = prepaid, pg_temp AS $$
BEGIN
    DELETE FROM prepaid.hot_stretch AS h USING gone AS g WHERE h.point = g.point;
    RETURN NULL;
END
$$;
CREATE TRIGGER stretch_came AFTER INSERT ON prepaid.open_stretch
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION prepaid.note_hot_stretch();
CREATE TRIGGER stretch_changed AFTER UPDATE ON prepaid.open_stretch
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION prepaid.note_hot_stretch();
CREATE TRIGGER stretch_gone AFTER DELETE ON prepaid.open_stretch
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION prepaid.forget_hot_stretch();
UPDATE prepaid.open_stretch SET point = point;
GRANT SELECT ON prepaid.hot_stretch, prepaid.shape TO meterloop_billing, meterloop_portal;
