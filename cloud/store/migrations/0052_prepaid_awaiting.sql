-- Agreements that have no state yet: they wait for a first register or a tariff. A sweep asks who
-- waits instead of looking for who is missing among all.
CREATE TABLE prepaid.awaiting (
    agreement text NOT NULL,
    CONSTRAINT awaiting_pk PRIMARY KEY (agreement)
);
INSERT INTO prepaid.awaiting (agreement)
SELECT a.agreement FROM customers.open_agreement AS a
WHERE NOT EXISTS (SELECT 1 FROM prepaid.state AS s WHERE s.agreement = a.agreement);

-- Definer's rights: who takes in customers needs no rights on the balance.
CREATE FUNCTION prepaid.await_state() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = prepaid, pg_temp AS $$
BEGIN
    INSERT INTO prepaid.awaiting (agreement) SELECT f.id FROM fresh AS f ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER agreement_awaits_state AFTER INSERT ON customers.agreement
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION prepaid.await_state();

GRANT SELECT, DELETE ON prepaid.awaiting TO meterloop_billing;

-- A tariff version that follows and whose fee is no cumulative of one register.
ALTER TABLE prepaid.exception DROP CONSTRAINT exception_kind_known;
ALTER TABLE prepaid.exception ADD CONSTRAINT exception_kind_known
    CHECK (kind IN ('missing_register', 'beyond_bound', 'below_opening', 'no_tariff',
                    'unfit_tariff'));

-- Each second opinion on a random share of accounts: how many, and which differed.
CREATE TABLE prepaid.shadow (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    seed bigint NOT NULL,
    checked integer NOT NULL,
    differing integer NOT NULL,
    examples text[] NOT NULL,
    CONSTRAINT shadow_pk PRIMARY KEY (id),
    CONSTRAINT shadow_counts CHECK (differing BETWEEN 0 AND checked)
);
CREATE INDEX shadow_at ON prepaid.shadow (at);
CREATE TRIGGER shadow_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prepaid.shadow
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Publishing of tariffs stands still from the first row on until a later one lifts it.
CREATE TABLE tariffs.freeze (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    frozen boolean NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT freeze_pk PRIMARY KEY (id),
    CONSTRAINT freeze_reason_given CHECK (reason <> '' AND actor <> '')
);
CREATE TRIGGER freeze_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tariffs.freeze
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
GRANT SELECT, INSERT ON prepaid.shadow, tariffs.freeze TO meterloop_billing;
GRANT SELECT ON prepaid.shadow, tariffs.freeze TO meterloop_portal;
