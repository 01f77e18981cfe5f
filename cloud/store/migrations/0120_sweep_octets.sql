-- What a sweep of millions reads, ready to be sent: one string of octets for each row, made when
-- the row is written. The server then only joins strings, and here they are columns at once.
ALTER TABLE usage.newest ADD COLUMN octets bytea NOT NULL GENERATED ALWAYS AS (
    int8send(point) || int8send(cumulative_wh) || int8send(2 * at_ms + questionable::integer)
) STORED;
COMMENT ON COLUMN usage.newest.octets IS
    'big-endian int64: point, cumulative_wh, 2 x at_ms + questionable';

-- The narrow part of each state; the rest of its row is wide and rarely asked for.
CREATE TABLE prepaid.hot (
    point bigint NOT NULL,
    octets bytea NOT NULL,
    CONSTRAINT hot_pk PRIMARY KEY (point)
) WITH (fillfactor = 85);
COMMENT ON COLUMN prepaid.hot.octets IS
    'big-endian int64, see prepaid.note_hot; kept by the statements that write prepaid.state';

-- Definer's rights: nobody writes it by any other road.
CREATE FUNCTION prepaid.note_hot() RETURNS trigger
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
    FROM fresh AS s
    ON CONFLICT (point) DO UPDATE SET octets = excluded.octets WHERE h.octets <> excluded.octets;
    RETURN NULL;
END
$$;
CREATE FUNCTION prepaid.forget_hot() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = prepaid, pg_temp AS $$
BEGIN
    DELETE FROM prepaid.hot AS h USING gone AS g WHERE h.point = g.point;
    RETURN NULL;
END
$$;
CREATE TRIGGER state_came AFTER INSERT ON prepaid.state
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION prepaid.note_hot();
CREATE TRIGGER state_changed AFTER UPDATE ON prepaid.state
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION prepaid.note_hot();
CREATE TRIGGER state_gone AFTER DELETE ON prepaid.state
    REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION prepaid.forget_hot();
UPDATE prepaid.state SET point = point;
GRANT SELECT ON prepaid.hot TO meterloop_billing, meterloop_portal;

-- Money in the same way, of customers alone: only their balances are sure to fit.
ALTER TABLE ledger.account ADD COLUMN octets bytea NOT NULL GENERATED ALWAYS AS (
    int8send(id) || int8send(CASE WHEN kind = 'customer_prepayment'
                                  THEN (posted_cr - posted_dr)::bigint ELSE 0 END)
) STORED;
COMMENT ON COLUMN ledger.account.octets IS 'big-endian int64: id, and of customers posted_cr - posted_dr';
CREATE OR REPLACE VIEW ledger.customer_balance AS
SELECT a.id AS ledger_account_id, a.code AS account, a.currency,
       (a.posted_cr - a.posted_dr)::bigint AS posted_micros, a.version, a.octets
FROM ledger.account AS a
WHERE a.kept AND a.kind = 'customer_prepayment';
