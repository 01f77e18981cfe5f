-- What an agreement's tariff and attributes were and will be, by day. The row of the agreement says
-- what holds now; this says since when. Proposed by one, decided by another where days are past.
CREATE TABLE customers.terms_change (
    id bigint GENERATED ALWAYS AS IDENTITY,
    agreement text NOT NULL REFERENCES customers.agreement (id),
    from_day date NOT NULL,
    tariff_code text,
    pinned_hash text,
    attributes jsonb NOT NULL DEFAULT '{}',
    reason text NOT NULL,
    state text NOT NULL,
    backdated boolean NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    decided_by text,
    decided_at timestamptz,
    applied_at timestamptz,
    CONSTRAINT terms_change_pk PRIMARY KEY (id),
    CONSTRAINT terms_change_state_known CHECK (state IN ('base', 'proposed', 'approved', 'refused')),
    CONSTRAINT terms_change_decided CHECK ((state IN ('approved', 'refused')) = (decided_by IS NOT NULL)),
    CONSTRAINT terms_change_two_people
        CHECK (NOT (backdated AND state = 'approved') OR decided_by <> proposed_by),
    CONSTRAINT terms_change_says_something
        CHECK (tariff_code IS NOT NULL OR pinned_hash IS NOT NULL OR attributes <> '{}'),
    CONSTRAINT terms_change_reason_given CHECK (reason <> '')
);
COMMENT ON COLUMN customers.terms_change.attributes IS
    'attributes that change: a text, or null where one is taken away';
COMMENT ON COLUMN customers.terms_change.applied_at IS
    'when balances and the agreement''s row were brought to it';
CREATE INDEX terms_change_agreement ON customers.terms_change (agreement, from_day, id);
CREATE INDEX terms_change_waiting ON customers.terms_change (state, applied_at)
    WHERE applied_at IS NULL;

-- What was decided stays decided: only a decision and its being applied are added to a row.
CREATE FUNCTION customers.keep_terms_change() RETURNS trigger
    LANGUAGE plpgsql SET search_path = customers, pg_temp AS $$
BEGIN
    IF (NEW.agreement, NEW.from_day, NEW.tariff_code, NEW.pinned_hash, NEW.attributes, NEW.reason,
        NEW.backdated, NEW.proposed_by, NEW.proposed_at)
       IS DISTINCT FROM
       (OLD.agreement, OLD.from_day, OLD.tariff_code, OLD.pinned_hash, OLD.attributes, OLD.reason,
        OLD.backdated, OLD.proposed_by, OLD.proposed_at)
       OR (OLD.state <> 'proposed' AND NEW.state <> OLD.state) THEN
        RAISE EXCEPTION 'a change of terms is never changed itself'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER terms_change_kept BEFORE UPDATE ON customers.terms_change
    FOR EACH ROW EXECUTE FUNCTION customers.keep_terms_change();
CREATE TRIGGER terms_change_not_deleted BEFORE DELETE OR TRUNCATE ON customers.terms_change
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT SELECT, INSERT, UPDATE ON customers.terms_change TO meterloop_billing;
GRANT SELECT, INSERT ON customers.terms_change TO meterloop_portal;
GRANT UPDATE (state, decided_by, decided_at) ON customers.terms_change TO meterloop_portal;

-- Days that bills stand for are not priced anew by prepayment: a corrective bill does that.
CREATE VIEW bills.billed_until AS
SELECT b.agreement, max(b.period_end) AS period_end
FROM bills.standing AS b
WHERE b.kind IN ('cycle', 'trueup', 'adhoc', 'corrective_reading', 'corrective_meter', 'rerun',
                 'final')
GROUP BY b.agreement;
GRANT SELECT ON bills.billed_until TO meterloop_billing, meterloop_portal;
