-- The whole chart, floors of kept balances, the queue and chain of evidence, sums of hot accounts.
ALTER TABLE ledger.account DROP CONSTRAINT ledger_account_kind_known;
ALTER TABLE ledger.account ADD CONSTRAINT ledger_account_kind_known CHECK (kind IN (
    'ar_energy', 'ar_penalty', 'ar_connection', 'unbilled_revenue', 'customer_prepayment',
    'deposit', 'vat_payable', 'levy_payable', 'subsidy_receivable', 'bank_clearing',
    'agent_float', 'suspense', 'rounding_carry', 'bad_debt', 'theft_penalty', 'revenue_energy',
    'revenue_penalty', 'revenue_connection', 'opening_balance', 'adjustment'
));
ALTER TABLE ledger.account ADD COLUMN min_balance numeric;
COMMENT ON COLUMN ledger.account.min_balance IS
    'a kept balance, on its normal side, may not fall below it; none: it may';
ALTER TABLE ledger.account ADD CONSTRAINT ledger_account_floor_is_kept
    CHECK (min_balance IS NULL OR kept);

CREATE INDEX entry_value_date ON ledger.entry (value_date, id);

-- Customers' views stay what they were now that others' accounts keep a balance too.
CREATE OR REPLACE VIEW ledger.customer_balance AS
SELECT a.id AS ledger_account_id, a.code AS account, a.currency,
       (a.posted_cr - a.posted_dr)::bigint AS posted_micros, a.version
FROM ledger.account AS a
WHERE a.kept AND a.kind = 'customer_prepayment';

CREATE OR REPLACE VIEW ledger.customer_movement AS
SELECT p.entry_id, a.code AS account, a.currency,
       sum(-p.side * p.amount_micros)::bigint AS amount_micros
FROM ledger.posting AS p
JOIN ledger.account AS a ON a.id = p.ledger_account_id
WHERE a.kept AND a.kind = 'customer_prepayment'
GROUP BY p.entry_id, a.code, a.currency;

-- Entries that no link covers yet; a trigger fills it, sealing empties it.
CREATE TABLE ledger.unsealed (
    entry_id bigint NOT NULL REFERENCES ledger.entry (id),
    CONSTRAINT unsealed_pk PRIMARY KEY (entry_id)
);
INSERT INTO ledger.unsealed (entry_id) SELECT e.id FROM ledger.entry AS e;

-- The chain: each link's digest covers its forerunner's, its entry and all legs. A day's root is
-- the digest of its last link. Sealed a moment after the commit, so no booking waits for a hash.
CREATE TABLE ledger.link (
    position bigint NOT NULL,
    entry_id bigint NOT NULL REFERENCES ledger.entry (id),
    day date NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT link_pk PRIMARY KEY (position),
    CONSTRAINT link_entry_once UNIQUE (entry_id),
    CONSTRAINT link_digest_is_sha256 CHECK (octet_length(digest) = 32)
);
CREATE INDEX link_day ON ledger.link (day, position);

-- Sums of accounts without a kept balance, per minute of booking, of sealed entries alone.
CREATE TABLE ledger.account_bucket (
    ledger_account_id bigint NOT NULL REFERENCES ledger.account (id),
    minute timestamptz NOT NULL,
    upto_position bigint NOT NULL,
    dr numeric NOT NULL,
    cr numeric NOT NULL,
    CONSTRAINT account_bucket_pk PRIMARY KEY (ledger_account_id, minute, upto_position)
);

CREATE TRIGGER link_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.link
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER account_bucket_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.account_bucket
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- As before, and: queue the entries for sealing, hold every floor.
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
    SELECT p.entry_id INTO bad FROM fresh AS p JOIN ledger.entry AS e ON e.id = p.entry_id
    WHERE e.txid <> pg_current_xact_id() LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'ledger_closed: entry % is already booked; post a new one', bad
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT p.entry_id INTO bad
    FROM fresh AS p JOIN ledger.account AS a ON a.id = p.ledger_account_id
    WHERE a.currency <> p.currency LIMIT 1;
    IF bad IS NOT NULL THEN
        RAISE EXCEPTION 'ledger_currency: entry % posts a currency its account does not hold', bad
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO ledger.unsealed (entry_id) SELECT DISTINCT p.entry_id FROM fresh AS p
    ON CONFLICT (entry_id) DO NOTHING;
    -- one order of locks for everybody: by account id; NO KEY, because the foreign keys of rivals'
    -- postings hold KEY SHARE on the same rows and would deadlock with a full FOR UPDATE
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

GRANT SELECT ON ledger.unsealed, ledger.link, ledger.account_bucket
    TO meterloop_billing, meterloop_portal;
GRANT DELETE ON ledger.unsealed TO meterloop_billing;
GRANT INSERT ON ledger.link, ledger.account_bucket TO meterloop_billing;
GRANT INSERT (min_balance) ON ledger.account TO meterloop_billing, meterloop_portal;
