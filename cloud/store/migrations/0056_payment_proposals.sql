-- What one person proposes about money in suspense or a difference of a reconciliation.
-- It stands until its subject is settled, which takes another person; the newest counts.
CREATE TABLE payments.proposal (
    id bigint GENERATED ALWAYS AS IDENTITY,
    subject text NOT NULL,
    outcome text NOT NULL,
    account text NOT NULL DEFAULT '',
    reason text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT proposal_pk PRIMARY KEY (id),
    CONSTRAINT proposal_outcome_known CHECK (
        outcome IN ('assigned', 'returned', 'corrected', 'kept')
    ),
    CONSTRAINT proposal_assigned_to CHECK ((outcome = 'assigned') = (account <> '')),
    CONSTRAINT proposal_says_why CHECK (reason <> '' AND actor <> '')
);
CREATE INDEX proposal_subject ON payments.proposal (subject, id DESC);

CREATE TRIGGER proposal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments.proposal
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT SELECT, INSERT ON payments.proposal TO meterloop_billing, meterloop_portal;
