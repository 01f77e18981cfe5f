-- The end of an agreement with its final bill and settlement; how an account pays and is told.
ALTER TABLE bills.bill DROP CONSTRAINT bill_kind_known;
ALTER TABLE bills.bill ADD CONSTRAINT bill_kind_known CHECK (kind IN (
    'cycle', 'trueup', 'adhoc', 'adhoc_special', 'corrective_meter', 'corrective_reading',
    'rerun', 'refund', 'supplement', 'final'));

CREATE TABLE bills.ending (
    agreement text NOT NULL,
    account text NOT NULL,
    usage_point text NOT NULL,
    currency text NOT NULL,
    zone text NOT NULL,
    bill bigint NOT NULL REFERENCES bills.bill (id),
    ended_on date NOT NULL,
    register_wh bigint NOT NULL,
    drawn boolean NOT NULL,
    deposit_micros bigint NOT NULL,
    interest_micros bigint NOT NULL,
    left_micros bigint NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    ended_by text NOT NULL,
    ended_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,
    proposed_by text NOT NULL DEFAULT '',
    channel text NOT NULL DEFAULT '',
    decided_by text NOT NULL DEFAULT '',
    refunded_micros bigint NOT NULL DEFAULT 0,
    CONSTRAINT ending_pk PRIMARY KEY (agreement),
    CONSTRAINT ending_state_known CHECK (
        state IN ('settled', 'refund_due', 'refund_proposed', 'refunded', 'demanded')),
    CONSTRAINT ending_left CHECK (
        CASE state WHEN 'demanded' THEN left_micros < 0
                   WHEN 'refund_due' THEN left_micros > 0
                   WHEN 'refund_proposed' THEN left_micros > 0
                   ELSE left_micros = 0 END),
    CONSTRAINT ending_by_two CHECK (
        state <> 'refunded' OR (proposed_by <> '' AND decided_by NOT IN ('', proposed_by)))
);
COMMENT ON COLUMN bills.ending.left_micros IS
    'what is left when all is settled: positive goes to the customer, negative is demanded';
CREATE INDEX ending_account ON bills.ending (account);
CREATE INDEX ending_open ON bills.ending (agreement)
    WHERE state IN ('refund_due', 'refund_proposed', 'demanded');

-- After its final bill an agreement's time is over: only corrections and documents follow.
CREATE FUNCTION bills.refuse_after_end() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = bills, pg_temp AS $$
DECLARE
    late text;
BEGIN
    SELECT f.agreement INTO late FROM fresh AS f JOIN bills.ending AS e ON e.agreement = f.agreement
    WHERE f.kind IN ('cycle', 'trueup', 'adhoc', 'adhoc_special', 'final') LIMIT 1;
    IF late IS NOT NULL THEN
        RAISE EXCEPTION 'bill_after_end: agreement % has had its final bill', late
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER bill_before_end AFTER INSERT ON bills.bill
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION bills.refuse_after_end();

-- How an account pays, and how it gets its bills; an account in no row pays at a counter and is
-- told as its contact says.
CREATE TABLE bills.means (
    account text NOT NULL,
    means text NOT NULL,
    delivery text NOT NULL,
    mandate text NOT NULL DEFAULT '',
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT means_pk PRIMARY KEY (account),
    CONSTRAINT means_known CHECK (means IN ('cash', 'counter', 'bank_debit', 'prepaid')),
    CONSTRAINT delivery_known CHECK (delivery IN ('sms', 'electronic', 'paper')),
    CONSTRAINT means_with_mandate CHECK ((means = 'bank_debit') = (mandate <> ''))
);

-- How each bill went out, by what held when it was issued; the first look at it is noted.
CREATE TABLE bills.delivery (
    bill bigint NOT NULL REFERENCES bills.bill (id),
    account text NOT NULL,
    means text NOT NULL,
    delivery text NOT NULL,
    mandate text NOT NULL,
    at timestamptz NOT NULL,
    opened_at timestamptz,
    opened_by text NOT NULL DEFAULT '',
    CONSTRAINT delivery_pk PRIMARY KEY (bill)
);
CREATE INDEX delivery_debits ON bills.delivery (bill) WHERE means = 'bank_debit';

-- When all ends were looked at, settled ones too.
CREATE TABLE bills.endings_looked (
    single boolean NOT NULL DEFAULT true,
    at timestamptz NOT NULL,
    CONSTRAINT endings_looked_pk PRIMARY KEY (single),
    CONSTRAINT endings_looked_once CHECK (single)
);
GRANT SELECT, INSERT, UPDATE ON bills.endings_looked TO meterloop_billing;

GRANT SELECT ON bills.ending, bills.means, bills.delivery TO meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE ON bills.ending TO meterloop_billing;
GRANT UPDATE (state, left_micros, changed_at, proposed_by, channel, decided_by, refunded_micros)
    ON bills.ending TO meterloop_portal;
GRANT INSERT, UPDATE ON bills.means TO meterloop_billing, meterloop_portal;
GRANT INSERT ON bills.delivery TO meterloop_billing;
GRANT UPDATE (opened_at, opened_by) ON bills.delivery TO meterloop_billing, meterloop_portal;
-- A balance that is settled is swept no more.
GRANT DELETE ON prepaid.state TO meterloop_billing;

-- Receivables of every kind, those of later chapters of the chart too.
CREATE OR REPLACE VIEW ledger.receivable AS
SELECT a.code AS account, a.kind, a.currency, (a.posted_dr - a.posted_cr)::bigint AS owed
FROM ledger.account AS a
WHERE a.kept AND starts_with(a.kind, 'ar_');
