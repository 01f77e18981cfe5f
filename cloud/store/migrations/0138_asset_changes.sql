-- What was told of installations and factors of a time that is past already: whoever keeps figures
-- that rest on it takes the rows, makes them anew, and the rows go.
CREATE TABLE assets.past_change (
    no bigint GENERATED ALWAYS AS IDENTITY,
    usage_point text NOT NULL,
    since timestamptz NOT NULL,
    reference text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT past_change_pk PRIMARY KEY (no),
    CONSTRAINT past_change_past CHECK (since <= at)
);
GRANT SELECT ON assets.past_change TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT ON assets.past_change TO meterloop_portal;
GRANT DELETE ON assets.past_change TO meterloop_ingest;

-- A change of a factor as one person proposes it; another, who has signed in, decides. What is
-- proposed is never altered, and a decision is taken once.
CREATE TABLE assets.ratio_proposal (
    id bigint GENERATED ALWAYS AS IDENTITY,
    usage_point text NOT NULL REFERENCES assets.usage_point (id),
    valid_from timestamptz NOT NULL,
    numerator integer NOT NULL,
    denominator integer NOT NULL,
    register_wh bigint,
    reason text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    CONSTRAINT ratio_proposal_pk PRIMARY KEY (id),
    CONSTRAINT ratio_proposal_sane CHECK (numerator BETWEEN 1 AND 1000000
                                          AND denominator BETWEEN 1 AND 1000000),
    CONSTRAINT ratio_proposal_register CHECK (register_wh >= 0),
    CONSTRAINT ratio_proposal_reason CHECK (reason <> '' AND proposed_by <> '')
);
CREATE TABLE assets.ratio_decision (
    proposal bigint NOT NULL REFERENCES assets.ratio_proposal (id),
    verified boolean NOT NULL,
    reason text NOT NULL,
    decided_by text NOT NULL,
    decided_at timestamptz NOT NULL,
    CONSTRAINT ratio_decision_pk PRIMARY KEY (proposal),
    CONSTRAINT ratio_decision_reason CHECK (decided_by <> '' AND (verified OR reason <> ''))
);

-- Two people: whoever proposed a change does not verify it.
CREATE FUNCTION assets.refuse_own_ratio() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.verified AND EXISTS (
        SELECT FROM assets.ratio_proposal AS p
        WHERE p.id = NEW.proposal AND p.proposed_by = NEW.decided_by) THEN
        RAISE EXCEPTION 'one person cannot both propose and verify a change of a factor'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER ratio_decision_by_two BEFORE INSERT ON assets.ratio_decision
    FOR EACH ROW EXECUTE FUNCTION assets.refuse_own_ratio();
CREATE TRIGGER ratio_proposal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON assets.ratio_proposal FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER ratio_decision_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON assets.ratio_decision FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
GRANT SELECT ON assets.ratio_proposal, assets.ratio_decision TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT ON assets.ratio_proposal, assets.ratio_decision TO meterloop_portal;
