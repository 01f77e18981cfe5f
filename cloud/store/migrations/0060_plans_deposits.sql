-- Debts in instalments and deposits: their accounts of the chart, their papers, what happened to them.
ALTER TABLE ledger.account DROP CONSTRAINT ledger_account_kind_known;
ALTER TABLE ledger.account ADD CONSTRAINT ledger_account_kind_known CHECK (kind IN (
    'ar_energy', 'ar_penalty', 'ar_connection', 'ar_plan', 'ar_instalment', 'ar_deposit',
    'unbilled_revenue', 'customer_prepayment', 'deposit', 'deposit_demanded', 'interest_paid',
    'vat_payable', 'levy_payable', 'subsidy_receivable', 'bank_clearing', 'agent_float', 'suspense',
    'rounding_carry', 'bad_debt', 'theft_penalty', 'revenue_energy', 'revenue_penalty',
    'revenue_connection', 'opening_balance', 'adjustment'
));

-- One debt in instalments. What it takes over is fixed when it is signed; its terms are pinned.
CREATE TABLE bills.plan (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account text NOT NULL,
    agreement text NOT NULL,
    usage_point text NOT NULL,
    currency text NOT NULL,
    zone text NOT NULL,
    state text NOT NULL,
    ar_energy bigint NOT NULL,
    ar_penalty bigint NOT NULL,
    ar_connection bigint NOT NULL,
    prepaid bigint NOT NULL,
    first_micros bigint NOT NULL,
    instalments integer NOT NULL,
    terms jsonb NOT NULL,
    two_people boolean NOT NULL,
    reason text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    decided_by text NOT NULL DEFAULT '',
    decided_at timestamptz,
    signed_by text NOT NULL DEFAULT '',
    signed_ref text NOT NULL DEFAULT '',
    signed_on date,
    ended_by text NOT NULL DEFAULT '',
    ended_at timestamptz,
    look_at timestamptz,
    CONSTRAINT plan_pk PRIMARY KEY (id),
    CONSTRAINT plan_state_known CHECK (state IN (
        'proposed', 'approved', 'refused', 'withdrawn', 'active', 'paid', 'broken', 'cancelled')),
    CONSTRAINT plan_of_a_debt CHECK (
        least(ar_energy, ar_penalty, ar_connection, prepaid) >= 0
        AND ar_energy + ar_penalty + ar_connection + prepaid > 0),
    CONSTRAINT plan_shared CHECK (first_micros >= 0 AND instalments > 0),
    CONSTRAINT plan_by_two CHECK (
        NOT two_people OR state IN ('proposed', 'refused', 'withdrawn')
        OR decided_by NOT IN ('', proposed_by)),
    CONSTRAINT plan_signed CHECK (
        (state IN ('active', 'paid', 'broken', 'cancelled')) = (signed_on IS NOT NULL)
        AND (signed_on IS NULL) = (signed_by = ''))
);
CREATE UNIQUE INDEX plan_open ON bills.plan (account)
    WHERE state IN ('proposed', 'approved', 'active');
CREATE INDEX plan_account ON bills.plan (account, id);
CREATE INDEX plan_look ON bills.plan (look_at) WHERE state = 'active';

-- A share with its day; it becomes a due line when its entry moves it there.
CREATE TABLE bills.instalment (
    plan bigint NOT NULL REFERENCES bills.plan (id),
    seq integer NOT NULL,
    due_on date NOT NULL,
    amount_micros bigint NOT NULL,
    entry_id bigint,
    demanded_at timestamptz,
    CONSTRAINT instalment_pk PRIMARY KEY (plan, seq),
    CONSTRAINT instalment_positive CHECK (amount_micros > 0),
    CONSTRAINT instalment_demanded CHECK ((entry_id IS NULL) = (demanded_at IS NULL))
);

-- What happened to a plan, or to an agreement that ended; collections follow it by number.
CREATE TABLE bills.debt_event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    plan bigint REFERENCES bills.plan (id),
    account text NOT NULL,
    agreement text NOT NULL,
    event text NOT NULL,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    figures jsonb NOT NULL DEFAULT '{}',
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT debt_event_pk PRIMARY KEY (id)
);
CREATE INDEX debt_event_account ON bills.debt_event (account, id);
CREATE TRIGGER debt_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON bills.debt_event
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE TABLE bills.deposit (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account text NOT NULL,
    agreement text NOT NULL,
    currency text NOT NULL,
    zone text NOT NULL,
    amount_micros bigint NOT NULL,
    rule text NOT NULL,
    state text NOT NULL DEFAULT 'demanded',
    reason text NOT NULL,
    demanded_by text NOT NULL,
    demanded_at timestamptz NOT NULL,
    due_on date NOT NULL,
    held_on date,
    interest_micros bigint NOT NULL DEFAULT 0,
    proposed_by text NOT NULL DEFAULT '',
    channel text NOT NULL DEFAULT '',
    decided_by text NOT NULL DEFAULT '',
    ended_at timestamptz,
    CONSTRAINT deposit_pk PRIMARY KEY (id),
    CONSTRAINT deposit_positive CHECK (amount_micros > 0 AND interest_micros >= 0),
    CONSTRAINT deposit_state_known CHECK (
        state IN ('demanded', 'held', 'returning', 'returned', 'applied', 'dropped')),
    CONSTRAINT deposit_held_since CHECK (
        (state IN ('demanded', 'dropped')) = (held_on IS NULL)),
    CONSTRAINT deposit_by_two CHECK (
        state <> 'returned' OR (proposed_by <> '' AND decided_by NOT IN ('', proposed_by)))
);
CREATE UNIQUE INDEX deposit_open ON bills.deposit (account)
    WHERE state IN ('demanded', 'held', 'returning');
CREATE INDEX deposit_demanded ON bills.deposit (id) WHERE state = 'demanded';

GRANT SELECT ON bills.plan, bills.instalment, bills.debt_event, bills.deposit
    TO meterloop_billing, meterloop_portal;
GRANT INSERT ON bills.plan, bills.instalment, bills.debt_event, bills.deposit
    TO meterloop_billing, meterloop_portal;
GRANT UPDATE ON bills.plan, bills.instalment, bills.deposit TO meterloop_billing, meterloop_portal;

-- What other contexts may read of the ledger: what stands on a customer's receivable.
CREATE VIEW ledger.receivable AS
SELECT a.code AS account, a.kind, a.currency, (a.posted_dr - a.posted_cr)::bigint AS owed
FROM ledger.account AS a
WHERE a.kept AND a.kind IN (
    'ar_energy', 'ar_penalty', 'ar_connection', 'ar_plan', 'ar_instalment', 'ar_deposit');
GRANT SELECT ON ledger.receivable TO meterloop_billing, meterloop_portal;
