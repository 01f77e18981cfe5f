-- What a channel may take a day, what an agent's float keeps for holds, which office a payment came
-- through, and peers' own words under a key that the database never sees.
CREATE TABLE payments.channel_change (
    id bigint GENERATED ALWAYS AS IDENTITY,
    channel text NOT NULL,
    currency text NOT NULL,
    kind text NOT NULL,
    amount_micros bigint,
    reason text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    outcome text NOT NULL DEFAULT 'waits',
    decided_by text,
    decided_at timestamptz,
    entry_id bigint,
    CONSTRAINT channel_change_pk PRIMARY KEY (id),
    CONSTRAINT channel_change_kind_known CHECK (kind IN ('day_limit', 'float')),
    CONSTRAINT channel_change_outcome_known
        CHECK (outcome IN ('waits', 'approved', 'refused', 'withdrawn')),
    CONSTRAINT channel_change_amount CHECK (
        (kind = 'day_limit' AND (amount_micros IS NULL OR amount_micros > 0))
        OR (kind = 'float' AND amount_micros IS NOT NULL AND amount_micros <> 0)
    ),
    CONSTRAINT channel_change_decided CHECK (
        (outcome = 'waits') = (decided_by IS NULL) AND (decided_by IS NULL) = (decided_at IS NULL)
    ),
    CONSTRAINT channel_change_two_people CHECK (
        outcome NOT IN ('approved', 'refused') OR decided_by <> proposed_by
    ),
    CONSTRAINT channel_change_says_why CHECK (reason <> '' AND proposed_by <> '')
);
COMMENT ON COLUMN payments.channel_change.amount_micros IS
    'of a day limit: most that counts in one of the channel''s days, none: no limit';
CREATE UNIQUE INDEX channel_change_waits ON payments.channel_change (channel, currency, kind)
    WHERE outcome = 'waits';
CREATE INDEX channel_change_newest ON payments.channel_change (channel, currency, kind, id DESC);

-- What was decided stays decided, and what was proposed stays as it was read.
CREATE FUNCTION payments.refuse_second_decision() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR OLD.outcome <> 'waits'
       OR (OLD.channel, OLD.currency, OLD.kind, OLD.amount_micros, OLD.reason, OLD.proposed_by)
          IS DISTINCT FROM
          (NEW.channel, NEW.currency, NEW.kind, NEW.amount_micros, NEW.reason, NEW.proposed_by) THEN
        RAISE EXCEPTION 'payments_decided: change % stands as it is', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER channel_change_decided_once BEFORE UPDATE OR DELETE ON payments.channel_change
    FOR EACH ROW EXECUTE FUNCTION payments.refuse_second_decision();
CREATE TRIGGER channel_change_kept BEFORE TRUNCATE ON payments.channel_change
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- One row for each of a limited channel's days; a channel without a limit writes none.
CREATE TABLE payments.channel_day (
    channel text NOT NULL,
    currency text NOT NULL,
    day date NOT NULL,
    taken_micros bigint NOT NULL,
    CONSTRAINT channel_day_pk PRIMARY KEY (channel, currency, day),
    CONSTRAINT channel_day_not_negative CHECK (taken_micros >= 0)
);

-- What of an agent's float is kept for payments it announced and has not posted.
CREATE TABLE payments.float_reserve (
    channel text NOT NULL,
    currency text NOT NULL,
    reserved_micros bigint NOT NULL,
    CONSTRAINT float_reserve_pk PRIMARY KEY (channel, currency),
    CONSTRAINT float_reserve_not_negative CHECK (reserved_micros >= 0)
);

ALTER TABLE payments.hold ADD COLUMN counted_on date;
COMMENT ON COLUMN payments.hold.counted_on IS
    'the channel''s day that its amount counts in; none: no limit stood';
ALTER TABLE payments.hold ADD COLUMN reserves boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN payments.hold.reserves IS 'while it is held it keeps a part of the agent''s float';
ALTER TABLE payments.hold ADD COLUMN office text NOT NULL DEFAULT '';
COMMENT ON COLUMN payments.hold.office IS 'the counter or branch of the peer, as the peer names it';

-- Requests and answers as they came, sealed; wall time, for the law counts years on the wall.
CREATE TABLE payments.peer_message (
    id bigint GENERATED ALWAYS AS IDENTITY,
    channel text NOT NULL,
    peer_txn_id text NOT NULL DEFAULT '',
    direction text NOT NULL,
    at_wall timestamptz NOT NULL,
    kept_until_wall timestamptz NOT NULL,
    key_id text NOT NULL,
    nonce bytea NOT NULL,
    sealed bytea NOT NULL,
    CONSTRAINT peer_message_pk PRIMARY KEY (id),
    CONSTRAINT peer_message_nonce_once UNIQUE (key_id, nonce),
    CONSTRAINT peer_message_direction_known CHECK (direction IN ('asked', 'answered')),
    CONSTRAINT peer_message_nonce_size CHECK (octet_length(nonce) = 12)
);
CREATE INDEX peer_message_txn ON payments.peer_message (channel, peer_txn_id, id);
CREATE INDEX peer_message_age ON payments.peer_message (kept_until_wall);

CREATE FUNCTION payments.refuse_early_loss() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' OR OLD.kept_until_wall > now() THEN
        RAISE EXCEPTION 'payments_kept: message % is kept until %', OLD.id, OLD.kept_until_wall
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN OLD;
END
$$;
CREATE TRIGGER peer_message_kept BEFORE UPDATE OR DELETE ON payments.peer_message
    FOR EACH ROW EXECUTE FUNCTION payments.refuse_early_loss();
CREATE TRIGGER peer_message_not_emptied BEFORE TRUNCATE ON payments.peer_message
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT SELECT, INSERT ON payments.channel_change, payments.channel_day, payments.float_reserve,
    payments.peer_message TO meterloop_billing, meterloop_portal;
GRANT UPDATE (outcome, decided_by, decided_at, entry_id) ON payments.channel_change
    TO meterloop_billing, meterloop_portal;
GRANT UPDATE (taken_micros) ON payments.channel_day TO meterloop_billing, meterloop_portal;
GRANT UPDATE (reserved_micros) ON payments.float_reserve TO meterloop_billing, meterloop_portal;
GRANT UPDATE (counted_on) ON payments.hold TO meterloop_billing, meterloop_portal;
GRANT DELETE ON payments.peer_message TO meterloop_billing;
