-- Double entry. Entries and postings are only ever added; each entry sums to zero per currency
-- at the statement that writes it, and its balances move with it in the same statement.
CREATE SCHEMA ledger;

CREATE TABLE ledger.account (
    id bigint GENERATED ALWAYS AS IDENTITY,
    code text NOT NULL,
    kind text NOT NULL,
    currency text NOT NULL,
    normal smallint NOT NULL,
    kept boolean NOT NULL DEFAULT false,
    posted_dr numeric NOT NULL DEFAULT 0,
    posted_cr numeric NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0,
    CONSTRAINT ledger_account_pk PRIMARY KEY (id),
    CONSTRAINT ledger_account_code_unique UNIQUE (code, currency),
    CONSTRAINT ledger_account_normal_side CHECK (normal IN (1, -1)),
    CONSTRAINT ledger_account_kind_known CHECK (kind IN (
        'customer_prepayment', 'bank_clearing', 'revenue_energy', 'suspense',
        'opening_balance', 'adjustment', 'rounding_carry'
    ))
);
COMMENT ON COLUMN ledger.account.kept IS
    'only customer accounts keep a balance; hot accounts are summed, never updated';

CREATE TABLE ledger.entry (
    id bigint GENERATED ALWAYS AS IDENTITY,
    idem_key text NOT NULL,
    req_hash bytea NOT NULL,
    kind text NOT NULL,
    value_date date NOT NULL,
    booked_at timestamptz NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    reverses bigint REFERENCES ledger.entry (id),
    source_ref text NOT NULL DEFAULT '',
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT entry_pk PRIMARY KEY (id),
    CONSTRAINT entry_idem_key_unique UNIQUE (idem_key),
    CONSTRAINT entry_reversed_once UNIQUE (reverses),
    CONSTRAINT entry_actor_named CHECK (actor <> '')
);

CREATE TABLE ledger.posting (
    entry_id bigint NOT NULL REFERENCES ledger.entry (id),
    seq smallint NOT NULL,
    ledger_account_id bigint NOT NULL REFERENCES ledger.account (id),
    side smallint NOT NULL,
    amount_micros bigint NOT NULL,
    currency text NOT NULL,
    CONSTRAINT posting_pk PRIMARY KEY (entry_id, seq),
    CONSTRAINT posting_side_known CHECK (side IN (1, -1)),
    CONSTRAINT posting_amount_positive CHECK (amount_micros > 0)
);
CREATE INDEX posting_account ON ledger.posting (ledger_account_id, entry_id);

CREATE FUNCTION ledger.refuse_reversed_reversal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT 1 FROM ledger.entry WHERE id = NEW.reverses AND reverses IS NOT NULL) THEN
        RAISE EXCEPTION 'ledger_reversal: entry % is itself a reversal', NEW.reverses
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER entry_no_reversed_reversal BEFORE INSERT ON ledger.entry
    FOR EACH ROW WHEN (NEW.reverses IS NOT NULL)
    EXECUTE FUNCTION ledger.refuse_reversed_reversal();

-- Definer's rights: no process may update a balance by any other road.
CREATE FUNCTION ledger.take_postings() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
DECLARE
    bad bigint;
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
    RETURN NULL;
END
$$;
CREATE TRIGGER posting_taken AFTER INSERT ON ledger.posting
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION ledger.take_postings();

CREATE FUNCTION ledger.refuse_empty_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM ledger.posting WHERE entry_id = NEW.id) THEN
        RAISE EXCEPTION 'ledger_empty: entry % has no postings', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER entry_not_empty AFTER INSERT ON ledger.entry
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION ledger.refuse_empty_entry();

CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER posting_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger.posting
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- What other contexts may read: the posted balance of every customer account (credit - debit).
CREATE VIEW ledger.customer_balance AS
SELECT a.id AS ledger_account_id, a.code AS account, a.currency,
       (a.posted_cr - a.posted_dr)::bigint AS posted_micros, a.version
FROM ledger.account AS a
WHERE a.kept;

-- and what each entry moved on it, to the customer's good.
CREATE VIEW ledger.customer_movement AS
SELECT p.entry_id, a.code AS account, a.currency,
       sum(-p.side * p.amount_micros)::bigint AS amount_micros
FROM ledger.posting AS p
JOIN ledger.account AS a ON a.id = p.ledger_account_id
WHERE a.kept
GROUP BY p.entry_id, a.code, a.currency;

GRANT USAGE ON SCHEMA ledger TO meterloop_billing, meterloop_portal;
GRANT SELECT ON ALL TABLES IN SCHEMA ledger TO meterloop_billing, meterloop_portal;
GRANT INSERT (code, kind, currency, normal, kept) ON ledger.account
    TO meterloop_billing, meterloop_portal;
GRANT INSERT ON ledger.entry, ledger.posting TO meterloop_billing, meterloop_portal;
