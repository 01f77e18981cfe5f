-- Who may be without power unseen, and what statistics of fee control may read of others.
CREATE VIEW control.supply_seen AS
SELECT s.usage_point, s.transformer, s.relay_state, s.state_at, s.protected
FROM control.supply_state AS s;

CREATE VIEW customers.payer AS
SELECT a.id AS account, c.kind, c.name
FROM customers.account AS a
JOIN customers.customer AS c ON c.id = a.customer;

CREATE VIEW ledger.credit_owed AS
SELECT a.code, a.kind, a.currency, (a.posted_dr - a.posted_cr)::bigint AS owed_micros
FROM ledger.account AS a
WHERE a.kind IN ('ar_emergency', 'ar_old_debt') AND a.posted_dr <> a.posted_cr;

CREATE VIEW ledger.moved_account AS
SELECT p.entry_id, a.code AS account, e.kind
FROM ledger.posting AS p
JOIN ledger.entry AS e ON e.id = p.entry_id
JOIN ledger.account AS a ON a.id = p.ledger_account_id
WHERE a.kind = 'customer_prepayment';

GRANT SELECT ON ledger.moved_account TO meterloop_billing, meterloop_portal;
GRANT SELECT ON control.supply_seen, customers.payer, ledger.credit_owed TO meterloop_billing, meterloop_portal;

CREATE TABLE prepaid.watch (
    id bigint GENERATED ALWAYS AS IDENTITY,
    agreement text NOT NULL,
    account text NOT NULL,
    usage_point text NOT NULL,
    reason text NOT NULL,
    since timestamptz NOT NULL,
    vulnerable text NOT NULL,
    available_micros bigint NOT NULL,
    currency text NOT NULL,
    found_at timestamptz NOT NULL,
    seen_by text NOT NULL DEFAULT '',
    seen_at timestamptz,
    note text NOT NULL DEFAULT '',
    closed_at timestamptz,
    CONSTRAINT watch_pk PRIMARY KEY (id),
    CONSTRAINT watch_reason_known CHECK (reason IN ('no_supply', 'not_closed', 'no_use')),
    CONSTRAINT watch_seen_with_a_note CHECK ((seen_at IS NULL) = (seen_by = ''))
);
COMMENT ON COLUMN prepaid.watch.vulnerable IS 'why this customer comes first; empty: none known';
CREATE UNIQUE INDEX watch_open ON prepaid.watch (agreement) WHERE closed_at IS NULL;

GRANT SELECT, INSERT ON prepaid.watch TO meterloop_billing;
GRANT UPDATE ON prepaid.watch TO meterloop_billing;
GRANT SELECT ON prepaid.watch TO meterloop_portal;
GRANT UPDATE (seen_by, seen_at, note) ON prepaid.watch TO meterloop_portal;
