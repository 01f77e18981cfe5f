-- What staff order at a page and the billing process carries out: a run is moved on or closed.
-- Nobody closes the run that they opened.
ALTER TABLE bills.run ADD CONSTRAINT run_opened_by UNIQUE (id, opened_by);

CREATE TABLE bills.run_order (
    id bigint GENERATED ALWAYS AS IDENTITY,
    run bigint NOT NULL,
    opened_by text NOT NULL,
    act text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT run_order_pk PRIMARY KEY (id),
    CONSTRAINT run_order_of_run FOREIGN KEY (run, opened_by) REFERENCES bills.run (id, opened_by),
    CONSTRAINT run_order_act_known CHECK (act IN ('advance', 'refreeze', 'close')),
    CONSTRAINT run_order_closed_by_another CHECK (act <> 'close' OR actor <> opened_by)
);
CREATE INDEX run_order_of ON bills.run_order (run, id DESC);
CREATE TRIGGER run_order_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON bills.run_order
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE TABLE bills.run_order_end (
    run_order bigint NOT NULL REFERENCES bills.run_order (id),
    outcome text NOT NULL,
    code text NOT NULL DEFAULT '',
    detail text NOT NULL DEFAULT '',
    at timestamptz NOT NULL,
    CONSTRAINT run_order_end_pk PRIMARY KEY (run_order),
    CONSTRAINT run_order_end_known CHECK (outcome IN ('done', 'waits', 'refused')),
    CONSTRAINT run_order_end_says_why CHECK ((outcome = 'refused') = (code <> ''))
);
CREATE TRIGGER run_order_end_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON bills.run_order_end
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT INSERT ON bills.run TO meterloop_portal;
GRANT SELECT ON bills.run_order, bills.run_order_end TO meterloop_billing, meterloop_portal;
GRANT INSERT ON bills.run_order TO meterloop_portal, meterloop_billing;
GRANT INSERT ON bills.run_order_end TO meterloop_billing;

-- A tariff version that one person proposes; another puts it into the book, or refuses it.
CREATE TABLE tariffs.proposal (
    id bigint GENERATED ALWAYS AS IDENTITY,
    digest text NOT NULL,
    code text NOT NULL,
    number integer NOT NULL,
    currency text NOT NULL,
    valid_from date NOT NULL,
    document text NOT NULL,
    reason text NOT NULL,
    asked_by text NOT NULL,
    asked_at timestamptz NOT NULL,
    CONSTRAINT proposal_pk PRIMARY KEY (id),
    CONSTRAINT proposal_asked_by UNIQUE (id, asked_by),
    CONSTRAINT proposal_says_why CHECK (reason <> '' AND asked_by <> ''),
    CONSTRAINT proposal_digest_true
        CHECK (digest = encode(sha256(convert_to(document, 'UTF8')), 'hex'))
);
CREATE TRIGGER proposal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tariffs.proposal
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE TABLE tariffs.proposal_end (
    proposal bigint NOT NULL,
    asked_by text NOT NULL,
    outcome text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    at timestamptz NOT NULL,
    CONSTRAINT proposal_end_pk PRIMARY KEY (proposal),
    CONSTRAINT proposal_end_of FOREIGN KEY (proposal, asked_by)
        REFERENCES tariffs.proposal (id, asked_by),
    CONSTRAINT proposal_end_known CHECK (outcome IN ('published', 'refused', 'withdrawn')),
    CONSTRAINT proposal_end_by_another CHECK ((actor <> asked_by) = (outcome <> 'withdrawn'))
);
CREATE TRIGGER proposal_end_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON tariffs.proposal_end FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT SELECT, INSERT ON tariffs.proposal, tariffs.proposal_end
    TO meterloop_billing, meterloop_portal;
GRANT INSERT ON tariffs.version TO meterloop_portal;
