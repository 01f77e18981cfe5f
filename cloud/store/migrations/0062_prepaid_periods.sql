-- Balances under tariffs of billing periods: stretches that pin what an agreement was, energy by
-- TouPeriod, and days that are put right later.

-- A segment follows another: the one numbered before it, unless terms were changed with past
-- effect. Then a new line of segments starts from the last that still holds; the rest stays to be
-- read, and no fee is built on it.
ALTER TABLE prepaid.segment
    ADD COLUMN previous integer, ADD COLUMN start_day date,
    ADD COLUMN shape text, ADD COLUMN before_wh jsonb, ADD COLUMN previous_wh bigint[];
COMMENT ON COLUMN prepaid.segment.previous IS 'the segment before; null means seq - 1';
COMMENT ON COLUMN prepaid.segment.start_day IS
    'the first day whose share is charged; null under a tariff of ladder years';
COMMENT ON COLUMN prepaid.segment.shape IS
    'the agreement''s attributes as pinned; null under a tariff of ladder years';
COMMENT ON COLUMN prepaid.segment.before_wh IS 'counters before it by TouPeriod, by reset';
COMMENT ON COLUMN prepaid.segment.previous_wh IS
    'what the segment before had used in the end, by TouPeriod';

-- The open stretch of each agreement on a tariff of periods.
CREATE TABLE prepaid.open_stretch (
    agreement text NOT NULL REFERENCES prepaid.state (agreement) ON DELETE CASCADE,
    point bigint NOT NULL,
    hourly boolean NOT NULL,
    start_day date NOT NULL,
    shape text NOT NULL,
    before_wh jsonb NOT NULL,
    opened_at timestamptz NOT NULL,
    opening_wh bigint[] NOT NULL,
    day_at timestamptz NOT NULL,
    day_wh bigint[] NOT NULL,
    upto_day date NOT NULL,
    energy_wh bigint[] NOT NULL,
    CONSTRAINT open_stretch_pk PRIMARY KEY (agreement),
    CONSTRAINT open_stretch_point_unique UNIQUE (point),
    CONSTRAINT open_stretch_days CHECK (upto_day > start_day)
) WITH (fillfactor = 70);
COMMENT ON COLUMN prepaid.open_stretch.day_wh IS 'energy by TouPeriod when the open day began';
COMMENT ON COLUMN prepaid.open_stretch.energy_wh IS
    'what the stored fee was computed from, with the days before upto_day';

-- A day is drawn once, seq 0; what turns out otherwise later is put right beside it.
ALTER TABLE prepaid.drawdown
    ADD COLUMN seq integer NOT NULL DEFAULT 0, ADD COLUMN energy_wh bigint[],
    ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY,
    DROP CONSTRAINT drawdown_pk, ADD CONSTRAINT drawdown_pk PRIMARY KEY (agreement, day, seq);

ALTER TABLE prepaid.exception DROP CONSTRAINT exception_kind_known;
ALTER TABLE prepaid.exception ADD CONSTRAINT exception_kind_known
    CHECK (kind IN ('missing_register', 'beyond_bound', 'below_opening', 'no_tariff',
                    'unfit_tariff', 'missing_intervals', 'intervals_differ'));

GRANT SELECT, INSERT, UPDATE, DELETE ON prepaid.open_stretch TO meterloop_billing;
GRANT SELECT ON prepaid.open_stretch TO meterloop_portal;
