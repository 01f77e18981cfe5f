-- Fees audited across calculation, ledger and collection; arrears of any moment; who looks after
-- what does not fit. Views tell what other contexts let be read, one row each.
CREATE SCHEMA accounting;

-- Entries come in the order of their booking: a range per block finds those after a moment.
CREATE INDEX entry_booked_at ON ledger.entry USING brin (booked_at) WITH (pages_per_range = 16);

-- Where a usage point hangs: its transformer, and the unit that looks after it.
CREATE VIEW assets.point_unit AS
SELECT p.id AS usage_point, p.transformer, coalesce(t.unit, t.id) AS unit
FROM assets.usage_point AS p JOIN assets.transformer AS t ON t.id = p.transformer;

-- Whose an account is and where it is supplied, now or last.
CREATE VIEW customers.account_holder AS
SELECT a.id AS account, a.currency, c.name, c.kind, coalesce(g.usage_point, '') AS usage_point
FROM customers.account AS a
JOIN customers.customer AS c ON c.id = a.customer
LEFT JOIN LATERAL (
    SELECT x.usage_point FROM customers.agreement AS x WHERE x.account = a.id
    ORDER BY x.ended_at DESC NULLS FIRST, x.started_at DESC LIMIT 1
) AS g ON true;

-- A leg with its entry; of a reversal, `kind` is that of what it reverses.
CREATE VIEW ledger.booked_leg AS
SELECT e.id AS entry_id, coalesce(r.kind, e.kind) AS kind, e.reverses, e.value_date, e.booked_at,
       e.source_ref, a.code, a.kind AS account_kind, a.kept, a.currency,
       p.side * p.amount_micros AS signed_micros
FROM ledger.entry AS e
JOIN ledger.posting AS p ON p.entry_id = e.id
JOIN ledger.account AS a ON a.id = p.ledger_account_id
LEFT JOIN ledger.entry AS r ON r.id = e.reverses;

-- What a bill moved when it was issued, and what its cancellation moved back.
CREATE VIEW bills.moved AS
SELECT b.id AS bill, b.account, b.usage_point, b.currency, b.issued_at AS at,
       b.posted_micros AS micros, b.entry_id
FROM bills.bill AS b
UNION ALL
SELECT b.id, b.account, b.usage_point, b.currency, c.at, -b.posted_micros, c.entry_id
FROM bills.cancellation AS c JOIN bills.bill AS b ON b.id = c.bill;

-- What is still within its time at a moment: bills that stood then and fall due on that day or later.
CREATE FUNCTION bills.not_due_at(moment timestamptz, day date)
RETURNS TABLE (account text, currency text, micros numeric)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT b.account, b.currency, sum(b.posted_micros)
    FROM bills.bill AS b
    WHERE b.issued_at <= moment AND b.due_on >= day AND b.posted_micros > 0
      AND NOT EXISTS (SELECT 1 FROM bills.cancellation AS c WHERE c.bill = b.id AND c.at <= moment)
    GROUP BY b.account, b.currency
$$;

-- What of a payment counted when it came, and each change of that.
CREATE VIEW payments.moved AS
SELECT p.receipt_no, p.channel, p.account, p.usage_point, p.currency, p.received_at AS at,
       p.amount_micros AS micros, p.entry_id, h.office, 'paid'::text AS what
FROM payments.payment AS p
JOIN payments.hold AS h ON h.channel = p.channel AND h.peer_txn_id = p.peer_txn_id
UNION ALL
SELECT p.receipt_no, p.channel, p.account, p.usage_point, p.currency, c.at, c.delta_micros,
       c.entry_id, h.office, c.kind
FROM payments.correction AS c
JOIN payments.payment AS p ON p.receipt_no = c.receipt_no
JOIN payments.hold AS h ON h.channel = p.channel AND h.peer_txn_id = p.peer_txn_id;

-- What accounts owed at a moment, one row per account, currency and receivable; a prepaid balance
-- stands with its sign turned, so that a customer's money lowers what is owed. From today's kept
-- balances back: what was booked later is taken off.
CREATE FUNCTION ledger.owed_at(moment timestamptz)
RETURNS TABLE (account text, currency text, kind text, micros numeric)
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN a.kind = 'customer_prepayment' THEN a.code
                ELSE substr(a.code, length(a.kind) + 2) END,
           a.currency, a.kind, a.posted_dr - a.posted_cr - coalesce(later.net, 0)
    FROM ledger.account AS a
    LEFT JOIN (
        SELECT p.ledger_account_id, sum(p.side * p.amount_micros::numeric) AS net
        FROM ledger.entry AS e JOIN ledger.posting AS p ON p.entry_id = e.id
        WHERE e.booked_at > moment
        GROUP BY p.ledger_account_id
    ) AS later ON later.ledger_account_id = a.id
    WHERE a.kept AND (a.kind = 'customer_prepayment' OR a.kind LIKE 'ar\_%')
$$;

-- One thing that does not fit, for as long as anybody looks after it.
CREATE TABLE accounting.exception (
    id bigint GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    subject text NOT NULL,
    kind text NOT NULL,
    account text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT '',
    state text NOT NULL DEFAULT 'open',
    owner text NOT NULL DEFAULT '',
    found_at timestamptz NOT NULL,
    moved_at timestamptz NOT NULL,
    CONSTRAINT exception_pk PRIMARY KEY (id),
    CONSTRAINT exception_once UNIQUE (source, subject, kind),
    CONSTRAINT exception_source_known
        CHECK (source IN ('calculation', 'bill', 'suspense', 'difference', 'book')),
    CONSTRAINT exception_state_known
        CHECK (state IN ('open', 'taken', 'settled', 'dismissed', 'gone')),
    CONSTRAINT exception_taken_by CHECK (state <> 'taken' OR owner <> '')
);
CREATE INDEX exception_waits ON accounting.exception (state, moved_at, id);

CREATE TABLE accounting.exception_step (
    exception bigint NOT NULL REFERENCES accounting.exception (id),
    seq integer NOT NULL,
    event text NOT NULL,
    state text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    at timestamptz NOT NULL,
    CONSTRAINT exception_step_pk PRIMARY KEY (exception, seq),
    CONSTRAINT exception_step_by CHECK (actor <> '')
);
CREATE TRIGGER exception_step_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON accounting.exception_step
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- The currency an agreement is billed in.
CREATE VIEW customers.agreement_currency AS
SELECT g.id AS agreement, a.currency FROM customers.agreement AS g
JOIN customers.account AS a ON a.id = g.account;

-- Items of runs that wait or were parked, while nobody billed them.
CREATE VIEW bills.waiting AS
SELECT i.run, i.agreement, i.account, i.state, i.reasons, i.detail
FROM bills.item AS i
WHERE i.state IN ('held', 'approval', 'parked')
  AND NOT EXISTS (
      SELECT 1 FROM bills.standing AS b
      WHERE b.agreement = i.agreement AND b.period_end = i.period_end
        AND b.kind NOT IN ('refund', 'supplement', 'adhoc_special'));

GRANT USAGE ON SCHEMA accounting TO meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT ON accounting.exception, accounting.exception_step
    TO meterloop_billing, meterloop_portal;
GRANT UPDATE (state, owner, detail, account, moved_at) ON accounting.exception
    TO meterloop_billing, meterloop_portal;
GRANT SELECT ON assets.point_unit, customers.account_holder, customers.agreement_currency,
    ledger.booked_leg, bills.moved,
    bills.waiting, payments.moved TO meterloop_billing, meterloop_portal;

-- Postings are checked by the set. A foreign key asks for each row, two questions a posting, which
-- is two fifths of what booking a chunk of bills costs; the statement's own trigger reads the same
-- tables anyhow. What a key would keep from being deleted is kept by triggers of its own.
ALTER TABLE ledger.posting
    DROP CONSTRAINT posting_entry_id_fkey,
    DROP CONSTRAINT posting_ledger_account_id_fkey;
ALTER TABLE ledger.unsealed DROP CONSTRAINT unsealed_entry_id_fkey;
CREATE TRIGGER account_kept BEFORE DELETE OR TRUNCATE ON ledger.account
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- As before, and: every posting has its entry and its account.
CREATE OR REPLACE FUNCTION ledger.take_postings() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE
    bad bigint;
    low text;
BEGIN
    SELECT p.entry_id INTO bad FROM fresh AS p
    GROUP BY p.entry_id, p.currency HAVING sum(p.side * p.amount_micros::numeric) <> 0 LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'ledger_sum: postings of entry % do not sum to zero', bad
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT p.entry_id INTO bad FROM fresh AS p LEFT JOIN ledger.entry AS e ON e.id = p.entry_id
    WHERE e.txid IS DISTINCT FROM pg_current_xact_id() LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'ledger_closed: entry % is already booked, or none; post a new one', bad
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT p.entry_id INTO bad
    FROM fresh AS p LEFT JOIN ledger.account AS a ON a.id = p.ledger_account_id
    WHERE a.currency IS DISTINCT FROM p.currency LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'ledger_currency: entry % posts a currency its account does not hold', bad
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO ledger.unsealed (entry_id) SELECT DISTINCT p.entry_id FROM fresh AS p
    ON CONFLICT (entry_id) DO NOTHING;
    -- one order of locks for everybody: by account id
    PERFORM 1 FROM ledger.account AS a
    WHERE a.kept AND a.id IN (SELECT p.ledger_account_id FROM fresh AS p)
    ORDER BY a.id FOR NO KEY UPDATE;
    UPDATE ledger.account AS a
    SET posted_dr = a.posted_dr + moved.dr, posted_cr = a.posted_cr + moved.cr,
        version = moved.newest
    FROM (
        SELECT p.ledger_account_id, max(p.entry_id) AS newest,
               coalesce(sum(p.amount_micros) FILTER (WHERE p.side = 1), 0) AS dr,
               coalesce(sum(p.amount_micros) FILTER (WHERE p.side = -1), 0) AS cr
        FROM fresh AS p GROUP BY p.ledger_account_id
    ) AS moved
    WHERE a.id = moved.ledger_account_id AND a.kept;
    -- only what lowers a balance is refused: money must always be able to come back above a floor
    SELECT a.code INTO low
    FROM ledger.account AS a
    JOIN (
        SELECT p.ledger_account_id, sum(p.side * p.amount_micros::numeric) AS net
        FROM fresh AS p GROUP BY p.ledger_account_id
    ) AS moved ON moved.ledger_account_id = a.id
    WHERE a.min_balance IS NOT NULL AND a.normal * moved.net < 0
      AND a.normal * (a.posted_dr - a.posted_cr) < a.min_balance
    LIMIT 1;
    IF low IS NOT NULL THEN
        RAISE EXCEPTION 'ledger_floor: % would fall below its smallest balance', low
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
