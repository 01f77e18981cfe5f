-- A company with several supplies: each has an account of its own, and one bill and one payment go
-- over all of them. An account belongs to one company's collective at a time.
CREATE TABLE customers.collective (
    id text NOT NULL,
    customer text NOT NULL REFERENCES customers.customer (id),
    currency text NOT NULL,
    opened_by text NOT NULL,
    opened_at timestamptz NOT NULL,
    CONSTRAINT collective_pk PRIMARY KEY (id)
);

CREATE TABLE customers.collective_member (
    collective text NOT NULL REFERENCES customers.collective (id),
    account text NOT NULL REFERENCES customers.account (id),
    place integer NOT NULL,
    joined_at timestamptz NOT NULL,
    left_at timestamptz,
    CONSTRAINT collective_member_pk PRIMARY KEY (collective, account),
    CONSTRAINT collective_member_leaves_later CHECK (left_at IS NULL OR left_at >= joined_at)
);
COMMENT ON COLUMN customers.collective_member.place IS
    'debts are paid in this order, and what is left goes to the first';
CREATE UNIQUE INDEX collective_member_of_one ON customers.collective_member (account)
    WHERE left_at IS NULL;

-- A member is an account of the company itself, in the collective's currency.
CREATE FUNCTION customers.check_collective_member() RETURNS trigger
    LANGUAGE plpgsql SET search_path = customers, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM customers.collective AS o
        JOIN customers.account AS a ON a.customer = o.customer AND a.currency = o.currency
        WHERE o.id = NEW.collective AND a.id = NEW.account) THEN
        RAISE EXCEPTION 'account % is not of the company of collective %', NEW.account, NEW.collective
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER collective_member_of_company BEFORE INSERT OR UPDATE ON customers.collective_member
    FOR EACH ROW EXECUTE FUNCTION customers.check_collective_member();

-- What a collective's one bill said: which bills it goes over, and its text.
CREATE TABLE bills.collective_bill (
    id bigint GENERATED ALWAYS AS IDENTITY,
    collective text NOT NULL,
    currency text NOT NULL,
    period_start date NOT NULL,
    period_end date NOT NULL,
    seq integer NOT NULL,
    bills bigint[] NOT NULL,
    total_micros bigint NOT NULL,
    posted_micros bigint NOT NULL,
    issued_at timestamptz NOT NULL,
    due_on date NOT NULL,
    actor text NOT NULL,
    CONSTRAINT collective_bill_pk PRIMARY KEY (id),
    CONSTRAINT collective_bill_once UNIQUE (collective, period_start, period_end, seq),
    CONSTRAINT collective_bill_goes_over_bills CHECK (cardinality(bills) > 0)
);
CREATE TRIGGER collective_bill_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON bills.collective_bill FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- One payment for a whole company, as it was shared out; each share is a payment of its own.
CREATE TABLE payments.collective_payment (
    channel text NOT NULL,
    peer_txn_id text NOT NULL,
    collective text NOT NULL,
    currency text NOT NULL,
    amount_micros bigint NOT NULL,
    accounts text[] NOT NULL,
    shares_micros bigint[] NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT collective_payment_pk PRIMARY KEY (channel, peer_txn_id),
    CONSTRAINT collective_payment_positive CHECK (amount_micros > 0),
    CONSTRAINT collective_payment_shared CHECK (
        cardinality(accounts) = cardinality(shares_micros) AND cardinality(accounts) > 0)
);
CREATE TRIGGER collective_payment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON payments.collective_payment FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- A discount of an agreement, such as that of industry: who may have it is shown by evidence, it
-- ends by itself, and another person agrees to it.
CREATE TABLE customers.discount (
    id bigint GENERATED ALWAYS AS IDENTITY,
    agreement text NOT NULL REFERENCES customers.agreement (id),
    attribute text NOT NULL,
    value text NOT NULL,
    evidence text NOT NULL,
    from_day date NOT NULL,
    until_day date NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    CONSTRAINT discount_pk PRIMARY KEY (id),
    CONSTRAINT discount_asked_by UNIQUE (id, asked_by),
    CONSTRAINT discount_shown CHECK (evidence <> '' AND value <> '' AND asked_by <> ''),
    CONSTRAINT discount_not_empty CHECK (from_day < until_day)
);
CREATE INDEX discount_of ON customers.discount (agreement, from_day);
CREATE TRIGGER discount_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON customers.discount
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE TABLE customers.discount_decision (
    discount bigint NOT NULL,
    asked_by text NOT NULL,
    granted boolean NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT discount_decision_pk PRIMARY KEY (discount),
    CONSTRAINT discount_decision_of FOREIGN KEY (discount, asked_by)
        REFERENCES customers.discount (id, asked_by),
    CONSTRAINT discount_decision_by_another CHECK (actor <> asked_by)
);
CREATE TRIGGER discount_decision_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON customers.discount_decision FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT SELECT, INSERT ON customers.collective, customers.discount, customers.discount_decision
    TO meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT, UPDATE ON customers.collective_member TO meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT ON bills.collective_bill, payments.collective_payment
    TO meterloop_billing, meterloop_portal;
GRANT INSERT ON customers.customer, customers.account, customers.agreement TO meterloop_portal;
