-- States as columns: whole numbers by which a sweep of millions finds register, money and tariff,
-- and the fees that such a sweep computed without touching the state.
CREATE TABLE prepaid.tariff_number (
    tariff_no integer GENERATED ALWAYS AS IDENTITY,
    tariff_hash text NOT NULL,
    CONSTRAINT tariff_number_pk PRIMARY KEY (tariff_no),
    CONSTRAINT tariff_number_hash_unique UNIQUE (tariff_hash)
);
INSERT INTO prepaid.tariff_number (tariff_hash)
SELECT DISTINCT s.tariff_hash FROM prepaid.state AS s;

ALTER TABLE prepaid.state
    ADD COLUMN point bigint, ADD COLUMN ledger_account_id bigint, ADD COLUMN tariff_no integer;
UPDATE prepaid.state AS s
SET point = usage.number_of(s.usage_point),
    ledger_account_id = coalesce((
        SELECT b.ledger_account_id FROM ledger.customer_balance AS b
        WHERE b.account = s.account AND b.currency = s.currency), 0),
    tariff_no = (SELECT t.tariff_no FROM prepaid.tariff_number AS t
                 WHERE t.tariff_hash = s.tariff_hash);
ALTER TABLE prepaid.state
    ALTER COLUMN point SET NOT NULL, ALTER COLUMN ledger_account_id SET NOT NULL,
    ALTER COLUMN tariff_no SET NOT NULL,
    ADD CONSTRAINT state_point_unique UNIQUE (point);
CREATE INDEX state_day_ends ON prepaid.state (day_ends_at);

-- Fees of many accounts at once, as columns of big-endian int64, ordered by point.
CREATE TABLE prepaid.snapshot (
    sweep bigint NOT NULL,
    block integer NOT NULL,
    at timestamptz NOT NULL,
    first_point bigint NOT NULL,
    last_point bigint NOT NULL,
    point bytea NOT NULL,
    register_wh bytea NOT NULL,
    register_ms bytea NOT NULL,
    fee_micros bytea NOT NULL,
    tariff_no bytea NOT NULL,
    CONSTRAINT snapshot_pk PRIMARY KEY (sweep, block),
    CONSTRAINT snapshot_equally_long CHECK (
        octet_length(point) = octet_length(register_wh)
        AND octet_length(point) = octet_length(register_ms)
        AND octet_length(point) = octet_length(fee_micros)
        AND octet_length(point) = octet_length(tariff_no))
);
-- random octets do not shrink: keep them as they are
ALTER TABLE prepaid.snapshot
    ALTER COLUMN point SET STORAGE EXTERNAL, ALTER COLUMN register_wh SET STORAGE EXTERNAL,
    ALTER COLUMN register_ms SET STORAGE EXTERNAL, ALTER COLUMN fee_micros SET STORAGE EXTERNAL,
    ALTER COLUMN tariff_no SET STORAGE EXTERNAL;
CREATE TRIGGER snapshot_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prepaid.snapshot
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- From where the next sweep looks for what moved, and when one last looked at every account.
CREATE TABLE prepaid.sweep_mark (
    single boolean NOT NULL DEFAULT true,
    next_moved xid8 NOT NULL,
    every_account_at timestamptz NOT NULL,
    CONSTRAINT sweep_mark_pk PRIMARY KEY (single),
    CONSTRAINT sweep_mark_only_one CHECK (single)
);
GRANT SELECT, INSERT ON prepaid.tariff_number, prepaid.snapshot TO meterloop_billing;
GRANT SELECT, INSERT, UPDATE ON prepaid.sweep_mark TO meterloop_billing;
GRANT SELECT ON prepaid.tariff_number, prepaid.snapshot TO meterloop_portal;
GRANT SELECT ON prepaid.tariff_number, usage.newest TO meterloop_control;
