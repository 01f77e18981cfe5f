-- Fee control: policies by level, loans and old debt apart from the balance, days without cuts.

-- A loan and old debt are what a customer owes, each on an account of its own. The kinds known so
-- far are kept as they are, whoever added them.
DO $$
DECLARE
    known text;
BEGIN
    SELECT pg_get_constraintdef(c.oid) INTO STRICT known FROM pg_constraint AS c
    WHERE c.conname = 'ledger_account_kind_known' AND c.conrelid = 'ledger.account'::regclass;
    ALTER TABLE ledger.account DROP CONSTRAINT ledger_account_kind_known;
    EXECUTE 'ALTER TABLE ledger.account ADD CONSTRAINT ledger_account_kind_known ' || replace(
        known, 'ARRAY[', 'ARRAY[''ar_emergency''::text, ''ar_old_debt''::text, ');
END
$$;

-- What a level says; null is inherited from the level above, the nearest to the customer wins.
CREATE TABLE prepaid.policy (
    level text NOT NULL,
    target text NOT NULL,
    cut_weekdays text,
    cut_from_hour integer,
    cut_until_hour integer,
    spare_eves boolean,
    emergency_micros bigint,
    emergency_auto boolean,
    emergency_from_micros bigint,
    recovery_permille integer,
    recovery_cap_micros bigint,
    horizon_days integer,
    unseen_minutes integer,
    limit_minutes integer,
    watch_days integer,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT policy_pk PRIMARY KEY (level, target),
    CONSTRAINT policy_level_known
        CHECK (level IN ('default', 'group', 'line', 'transformer', 'agreement')),
    CONSTRAINT policy_weekdays CHECK (cut_weekdays ~ '^[1-7]+$'),
    CONSTRAINT policy_hours
        CHECK (cut_from_hour BETWEEN 0 AND 23 AND cut_until_hour BETWEEN 1 AND 24),
    CONSTRAINT policy_amounts CHECK (emergency_micros >= 0 AND recovery_cap_micros >= 0),
    CONSTRAINT policy_share CHECK (recovery_permille BETWEEN 0 AND 1000),
    CONSTRAINT policy_times CHECK (
        horizon_days >= 0 AND unseen_minutes > 0 AND limit_minutes BETWEEN 1 AND 1440 AND watch_days > 0)
);

-- Which customers a group's policy speaks of, and which areas a line feeds.
CREATE TABLE prepaid.group_member (
    agreement text NOT NULL,
    name text NOT NULL,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT group_member_pk PRIMARY KEY (agreement),
    CONSTRAINT group_member_named CHECK (name <> '')
);
CREATE TABLE prepaid.line_area (
    transformer text NOT NULL,
    line text NOT NULL,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT line_area_pk PRIMARY KEY (transformer),
    CONSTRAINT line_area_named CHECK (line <> '')
);
CREATE TABLE prepaid.rest_day (
    day date NOT NULL,
    name text NOT NULL,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT rest_day_pk PRIMARY KEY (day)
);

-- Each loan that was given; what of it is still owed stands in the ledger.
CREATE TABLE prepaid.emergency (
    account text NOT NULL,
    no integer NOT NULL,
    agreement text NOT NULL,
    usage_point text NOT NULL,
    at timestamptz NOT NULL,
    amount_micros bigint NOT NULL,
    currency text NOT NULL,
    before_micros bigint NOT NULL,
    entry_id bigint NOT NULL,
    actor text NOT NULL,
    CONSTRAINT emergency_pk PRIMARY KEY (account, no),
    CONSTRAINT emergency_amount_positive CHECK (amount_micros > 0)
);
CREATE TRIGGER emergency_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prepaid.emergency
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Old debt that is set aside: one person proposes, another agrees, and then it is booked.
CREATE TABLE prepaid.old_debt (
    id bigint GENERATED ALWAYS AS IDENTITY,
    account text NOT NULL,
    source text NOT NULL,
    amount_micros bigint NOT NULL,
    currency text NOT NULL,
    reason text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    ended_by text,
    ended_at timestamptz,
    entry_id bigint,
    CONSTRAINT old_debt_pk PRIMARY KEY (id),
    CONSTRAINT old_debt_source_known CHECK (source IN ('balance', 'energy')),
    CONSTRAINT old_debt_amount_positive CHECK (amount_micros > 0),
    CONSTRAINT old_debt_reason_given CHECK (reason <> ''),
    CONSTRAINT old_debt_two_people CHECK (entry_id IS NULL OR ended_by <> proposed_by),
    CONSTRAINT old_debt_ended CHECK ((ended_by IS NULL) = (ended_at IS NULL))
);
CREATE UNIQUE INDEX old_debt_one_open ON prepaid.old_debt (account) WHERE ended_at IS NULL;
CREATE INDEX old_debt_account ON prepaid.old_debt (account, id);

-- How far fee control has read the lines passed.
CREATE TABLE prepaid.reader (
    stream text NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT reader_pk PRIMARY KEY (stream)
);

GRANT SELECT, INSERT, UPDATE ON prepaid.policy, prepaid.group_member, prepaid.line_area,
    prepaid.reader TO meterloop_billing;
GRANT SELECT, INSERT ON prepaid.emergency TO meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT, DELETE ON prepaid.rest_day TO meterloop_billing;
GRANT SELECT, INSERT ON prepaid.old_debt TO meterloop_billing, meterloop_portal;
GRANT UPDATE (ended_by, ended_at, entry_id) ON prepaid.old_debt
    TO meterloop_billing, meterloop_portal;
GRANT SELECT ON prepaid.policy, prepaid.group_member, prepaid.line_area, prepaid.rest_day
    TO meterloop_portal;

-- A recheck that billing limits to the hours in which this supply may be cut.
ALTER TABLE control.request ADD COLUMN recheck_until timestamptz;
COMMENT ON COLUMN control.request.recheck_until IS
    'after it the confirmed debt must be computed again; none: the policy''s hours alone say so';
