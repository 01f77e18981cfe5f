-- Late-payment penalties: what was accrued of each bill up to a day, documents by two people.
CREATE TABLE bills.penalty_accrual (
    bill bigint NOT NULL REFERENCES bills.bill (id),
    upto date NOT NULL,
    amount_micros bigint NOT NULL,
    open_micros bigint NOT NULL,
    entry_id bigint,
    rule text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT penalty_accrual_pk PRIMARY KEY (bill, upto),
    CONSTRAINT penalty_accrual_not_negative CHECK (amount_micros >= 0 AND open_micros >= 0),
    CONSTRAINT penalty_accrual_booked CHECK ((amount_micros = 0) = (entry_id IS NULL))
);
CREATE TRIGGER penalty_accrual_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON bills.penalty_accrual
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE TABLE bills.penalty_document (
    id bigint GENERATED ALWAYS AS IDENTITY,
    bill bigint NOT NULL REFERENCES bills.bill (id),
    kind text NOT NULL,
    state text NOT NULL DEFAULT 'proposed',
    amount_micros bigint,
    from_on date,
    until_on date,
    reason text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    decided_by text NOT NULL DEFAULT '',
    decided_at timestamptz,
    entry_id bigint,
    CONSTRAINT penalty_document_pk PRIMARY KEY (id),
    CONSTRAINT penalty_document_kind_known CHECK (
        kind IN ('waiver', 'deferral', 'refund', 'dispute')),
    CONSTRAINT penalty_document_state_known CHECK (
        state IN ('proposed', 'approved', 'refused', 'withdrawn')),
    CONSTRAINT penalty_document_summed CHECK (
        (kind = 'deferral') = (amount_micros IS NULL) AND amount_micros > 0 IS NOT FALSE),
    CONSTRAINT penalty_document_dated CHECK (
        (kind IN ('deferral', 'dispute')) = (from_on IS NOT NULL)
        AND (from_on IS NULL) = (until_on IS NULL) AND from_on <= until_on IS NOT FALSE),
    CONSTRAINT penalty_document_decided CHECK (
        (state = 'proposed') = (decided_at IS NULL)),
    CONSTRAINT penalty_document_by_two CHECK (
        state NOT IN ('approved', 'refused') OR decided_by NOT IN ('', proposed_by)),
    CONSTRAINT penalty_document_booked CHECK (
        (entry_id IS NOT NULL) = (state = 'approved' AND kind IN ('waiver', 'refund')))
);
CREATE INDEX penalty_document_bill ON bills.penalty_document (bill);

CREATE INDEX bill_account_due ON bills.bill (account, due_on);

-- What other contexts may read of the ledger: a leg of an entry with its day.
CREATE VIEW ledger.dated_leg AS
SELECT p.entry_id, e.value_date, e.kind AS entry_kind, e.reverses, a.code, a.kind, a.currency,
       p.side, p.amount_micros
FROM ledger.posting AS p
JOIN ledger.entry AS e ON e.id = p.entry_id
JOIN ledger.account AS a ON a.id = p.ledger_account_id;

-- And of customers: the account's currency and its customer's kind, by which terms are chosen.
CREATE VIEW customers.account_kind AS
SELECT a.id AS account, a.currency, c.kind
FROM customers.account AS a JOIN customers.customer AS c ON c.id = a.customer;

GRANT SELECT ON bills.penalty_accrual, bills.penalty_document, ledger.dated_leg,
    customers.account_kind TO meterloop_billing, meterloop_portal;
GRANT INSERT ON bills.penalty_accrual, bills.penalty_document TO meterloop_billing;
GRANT UPDATE (state, decided_by, decided_at, entry_id) ON bills.penalty_document
    TO meterloop_billing;
