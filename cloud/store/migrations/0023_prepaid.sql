-- The real-time balance: which segment a usage point is priced on, what the kernel last said,
-- what was drawn from the ledger for it, and which lines were crossed.
CREATE SCHEMA prepaid;

-- A stretch of use under one tariff version within one ladder year.
CREATE TABLE prepaid.segment (
    agreement text NOT NULL,
    seq integer NOT NULL,
    period date NOT NULL,
    started_at timestamptz NOT NULL,
    register_wh bigint NOT NULL,
    year_wh bigint NOT NULL,
    fee_before_micros bigint NOT NULL,
    tariff_hash text NOT NULL,
    opened_at timestamptz NOT NULL,
    CONSTRAINT segment_pk PRIMARY KEY (agreement, seq),
    CONSTRAINT segment_not_negative CHECK (register_wh >= 0 AND year_wh >= 0)
);
COMMENT ON COLUMN prepaid.segment.fee_before_micros IS
    'sum of the agreement''s earlier segments, since it started';

CREATE TABLE prepaid.state (
    agreement text NOT NULL,
    account text NOT NULL,
    usage_point text NOT NULL,
    currency text NOT NULL,
    tariff_code text NOT NULL,
    pinned_hash text,
    contract_w bigint NOT NULL,
    segment_seq integer NOT NULL,
    period date NOT NULL,
    segment_register_wh bigint NOT NULL,
    segment_year_wh bigint NOT NULL,
    segment_fee_before_micros bigint NOT NULL,
    tariff_hash text NOT NULL,
    register_wh bigint NOT NULL,
    register_at timestamptz NOT NULL,
    quality text NOT NULL,
    fee_micros bigint NOT NULL,
    drawn_micros bigint NOT NULL,
    open_day date NOT NULL,
    day_ends_at timestamptz NOT NULL,
    day_register_wh bigint NOT NULL,
    tier integer NOT NULL,
    available_micros bigint NOT NULL,
    below_reminder boolean NOT NULL DEFAULT false,
    below_zero boolean NOT NULL DEFAULT false,
    below_cut boolean NOT NULL DEFAULT false,
    reminders integer NOT NULL DEFAULT 0,
    zeros integer NOT NULL DEFAULT 0,
    cuts integer NOT NULL DEFAULT 0,
    restores integer NOT NULL DEFAULT 0,
    ledger_version bigint NOT NULL DEFAULT 0,
    swept_at timestamptz NOT NULL,
    CONSTRAINT state_pk PRIMARY KEY (agreement),
    CONSTRAINT state_usage_point_unique UNIQUE (usage_point),
    CONSTRAINT state_account_unique UNIQUE (account)
);
ALTER TABLE prepaid.state SET (fillfactor = 60);

-- What each business day cost, taken from the account by one ledger entry.
CREATE TABLE prepaid.drawdown (
    agreement text NOT NULL,
    day date NOT NULL,
    account text NOT NULL,
    segment_seq integer NOT NULL,
    from_register_wh bigint NOT NULL,
    register_wh bigint NOT NULL,
    register_at timestamptz NOT NULL,
    fee_micros bigint NOT NULL,
    amount_micros bigint NOT NULL,
    tariff_hash text NOT NULL,
    entry_id bigint,
    drawn_at timestamptz NOT NULL,
    CONSTRAINT drawdown_pk PRIMARY KEY (agreement, day),
    CONSTRAINT drawdown_entry_if_amount CHECK ((amount_micros = 0) = (entry_id IS NULL))
);
CREATE TRIGGER drawdown_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prepaid.drawdown
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER segment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prepaid.segment
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- A line passed by a balance or a step reached by use: once each, whatever repeats.
CREATE TABLE prepaid.crossing (
    id bigint GENERATED ALWAYS AS IDENTITY,
    agreement text NOT NULL,
    account text NOT NULL,
    usage_point text NOT NULL,
    kind text NOT NULL,
    level integer NOT NULL,
    period date NOT NULL,
    crossing_no integer NOT NULL,
    at timestamptz NOT NULL,
    available_micros bigint NOT NULL,
    register_wh bigint NOT NULL,
    register_at timestamptz NOT NULL,
    tariff_hash text NOT NULL,
    ledger_version bigint NOT NULL,
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT crossing_pk PRIMARY KEY (id),
    CONSTRAINT crossing_once UNIQUE (account, kind, level, period, crossing_no),
    CONSTRAINT crossing_kind_known
        CHECK (kind IN ('reminder', 'zero', 'cut', 'tier', 'restored'))
);
CREATE INDEX crossing_agreement ON prepaid.crossing (agreement, id);
CREATE TRIGGER crossing_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prepaid.crossing
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Calculations that could not be made or trusted; open until the cause is gone.
CREATE TABLE prepaid.exception (
    agreement text NOT NULL,
    kind text NOT NULL,
    since timestamptz NOT NULL,
    closed_at timestamptz,
    detail text NOT NULL DEFAULT '',
    CONSTRAINT exception_pk PRIMARY KEY (agreement, kind, since),
    CONSTRAINT exception_kind_known
        CHECK (kind IN ('missing_register', 'beyond_bound', 'below_opening', 'no_tariff'))
);
CREATE UNIQUE INDEX exception_open ON prepaid.exception (agreement, kind)
    WHERE closed_at IS NULL;

GRANT USAGE ON SCHEMA prepaid TO meterloop_billing, meterloop_portal, meterloop_control;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA prepaid TO meterloop_billing;
GRANT UPDATE ON prepaid.state, prepaid.exception TO meterloop_billing;
GRANT SELECT ON ALL TABLES IN SCHEMA prepaid TO meterloop_portal;
-- a payment at a counter or on a page settles the balance it changed
GRANT INSERT ON prepaid.crossing TO meterloop_portal;
GRANT UPDATE ON prepaid.state TO meterloop_portal;
