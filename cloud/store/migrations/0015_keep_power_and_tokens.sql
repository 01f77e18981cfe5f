-- Keep-power at the meter itself (D8), its end by two people, and tokens carried to meters.

-- What a meter can be told beside its relay; registration says so, the meter itself decides.
ALTER TABLE assets.meter
    ADD COLUMN keeps_power boolean NOT NULL DEFAULT false,
    ADD COLUMN token_kind text NOT NULL DEFAULT '',
    ADD CONSTRAINT meter_token_kind_known CHECK (token_kind IN ('', 'sts', 'dlms115', 'dlt645'));

ALTER TABLE control.policy
    ADD COLUMN push_keep_power boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN control.policy.push_keep_power IS
    'tell meters of protected supplies to refuse trips, where they can';

-- How the meter was last told: anything but off locks a cut, for in doubt power stays on.
ALTER TABLE control.supply_state
    ADD COLUMN keep_power text NOT NULL DEFAULT 'off',
    ADD COLUMN keep_tried_at timestamptz,
    ADD CONSTRAINT supply_keep_power_known
        CHECK (keep_power IN ('off', 'ordered', 'on', 'unknown'));
CREATE INDEX supply_keep_owed ON control.supply_state (keep_tried_at NULLS FIRST)
    WHERE protected AND keep_power <> 'on';

-- A wish to make trips possible again: one person asks, another approves, one command follows.
CREATE SEQUENCE control.keep_release_number;
CREATE TABLE control.keep_release (
    id text NOT NULL DEFAULT 'R-' || lpad(nextval('control.keep_release_number')::text, 6, '0'),
    usage_point text NOT NULL,
    requested_by text NOT NULL,
    reason text NOT NULL,
    requested_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    approved_by text,
    approved_at timestamptz,
    closed_at timestamptz,
    cause text NOT NULL DEFAULT '',
    CONSTRAINT keep_release_pk PRIMARY KEY (id),
    CONSTRAINT keep_release_supply FOREIGN KEY (usage_point)
        REFERENCES control.supply_state (usage_point),
    CONSTRAINT keep_release_reasoned CHECK (reason <> ''),
    CONSTRAINT keep_release_by_people
        CHECK (requested_by ~ '^user:.+' AND (approved_by IS NULL OR approved_by ~ '^user:.+')),
    CONSTRAINT keep_release_two_people CHECK (lower(approved_by) <> lower(requested_by)),
    CONSTRAINT keep_release_approved_whole CHECK ((approved_by IS NULL) = (approved_at IS NULL))
);
CREATE UNIQUE INDEX keep_release_one_open ON control.keep_release (usage_point)
    WHERE closed_at IS NULL;
CREATE INDEX keep_release_lapsing ON control.keep_release (expires_at) WHERE closed_at IS NULL;

CREATE FUNCTION control.guard_keep_release() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.usage_point, NEW.requested_by, NEW.reason, NEW.requested_at, NEW.expires_at)
       IS DISTINCT FROM
       (OLD.id, OLD.usage_point, OLD.requested_by, OLD.reason, OLD.requested_at, OLD.expires_at)
       OR (OLD.approved_by IS NOT NULL AND NEW.approved_by IS DISTINCT FROM OLD.approved_by)
       OR OLD.closed_at IS NOT NULL THEN
        RAISE EXCEPTION 'release % may not be rewritten', OLD.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'control_rewrite';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER keep_release_guarded BEFORE UPDATE ON control.keep_release
    FOR EACH ROW EXECUTE FUNCTION control.guard_keep_release();

-- Tokens on their way to meters. What they are worth is between their issuer and the meter; here
-- each is taken once per key and handed over once per meter, in the order of `id`.
CREATE TABLE control.token (
    id bigint GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    idempotency_key text NOT NULL,
    usage_point text NOT NULL,
    meter text NOT NULL,
    kind text NOT NULL,
    opaque bytea NOT NULL,
    digest bytea NOT NULL GENERATED ALWAYS AS (sha256(opaque)) STORED,
    taken_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'waiting',
    tries integer NOT NULL DEFAULT 0,
    cause text NOT NULL DEFAULT '',
    evidence jsonb,
    ended_at timestamptz,
    CONSTRAINT token_pk PRIMARY KEY (id),
    CONSTRAINT token_supply FOREIGN KEY (usage_point)
        REFERENCES control.supply_state (usage_point),
    CONSTRAINT token_key_once UNIQUE (source, idempotency_key),
    CONSTRAINT token_given_once UNIQUE (meter, digest),
    CONSTRAINT token_kind_known CHECK (kind IN ('sts', 'dlms115', 'dlt645')),
    CONSTRAINT token_octets CHECK (octet_length(opaque) BETWEEN 1 AND 256),
    CONSTRAINT token_state_known CHECK (state IN ('waiting', 'ordered', 'done', 'refused',
        'doubtful', 'expired')),
    CONSTRAINT token_ended_whole CHECK ((ended_at IS NULL) = (state IN ('waiting', 'ordered')))
);
CREATE INDEX token_open ON control.token (meter, id) WHERE ended_at IS NULL;
CREATE INDEX token_of ON control.token (usage_point, id);

CREATE FUNCTION control.guard_token() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.source, NEW.idempotency_key, NEW.usage_point, NEW.meter, NEW.kind, NEW.opaque)
       IS DISTINCT FROM
       (OLD.id, OLD.source, OLD.idempotency_key, OLD.usage_point, OLD.meter, OLD.kind, OLD.opaque)
       OR (OLD.state = 'done' AND NEW.state <> 'done') THEN
        RAISE EXCEPTION 'token % may not be rewritten', OLD.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'control_rewrite';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER token_guarded BEFORE UPDATE ON control.token
    FOR EACH ROW EXECUTE FUNCTION control.guard_token();

ALTER TABLE control.command
    ADD COLUMN keep_release text,
    ADD COLUMN token bigint,
    ADD CONSTRAINT command_release FOREIGN KEY (keep_release) REFERENCES control.keep_release (id),
    ADD CONSTRAINT command_token FOREIGN KEY (token) REFERENCES control.token (id),
    ADD CONSTRAINT command_release_asked
        CHECK ((verb = 'end_keep_power') = (keep_release IS NOT NULL)),
    ADD CONSTRAINT command_token_taken CHECK ((verb = 'deliver_token') = (token IS NOT NULL)),
    DROP CONSTRAINT command_verb_known,
    ADD CONSTRAINT command_verb_known CHECK (verb IN ('disconnect', 'reconnect', 'read_relay',
        'keep_power', 'end_keep_power', 'deliver_token'));
CREATE UNIQUE INDEX command_of_release ON control.command (keep_release)
    WHERE keep_release IS NOT NULL;
CREATE INDEX command_of_token ON control.command (token) WHERE token IS NOT NULL;

CREATE OR REPLACE FUNCTION control.refuse(
    supply control.supply_state, epoch bigint, at timestamptz
) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN supply.protected OR EXISTS (
            SELECT 1 FROM control.protection AS p
            WHERE p.ended_at IS NULL AND p.valid_from <= at
              AND (p.valid_until IS NULL OR p.valid_until > at)
              AND ((p.level = 'usage_point' AND p.target = supply.usage_point)
                OR (p.level = 'transformer' AND p.target = supply.transformer)
                OR (p.level = 'feeder' AND p.target = supply.feeder))
        ) THEN 'control_protected'
        WHEN supply.keep_power <> 'off' THEN 'control_keeps_power'
        WHEN supply.epoch <> epoch THEN 'control_epoch'
        WHEN EXISTS (SELECT 1 FROM control.halt AS h WHERE h.halted) THEN 'control_halted'
        WHEN EXISTS (
            SELECT 1 FROM control.hold AS h
            WHERE h.usage_point = supply.usage_point AND h.released_at IS NULL
              AND (h.until IS NULL OR h.until > at)
        ) THEN 'control_hold'
    END
$$;

-- Beside the guard of cuts: trips become possible again only by two people and never for a
-- protected supply; a token leaves in its turn, to the meter it was taken for.
CREATE FUNCTION control.guard_order() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    supply control.supply_state;
    found_cause text;
BEGIN
    IF NEW.verb = 'end_keep_power' THEN
        SELECT * INTO supply FROM control.supply_state AS s
        WHERE s.usage_point = NEW.usage_point FOR UPDATE;
        IF control.refuse(supply, supply.epoch, NEW.issued_at) = 'control_protected' THEN
            found_cause := 'control_protected';
        ELSIF current_user IN ('meterloop_billing', 'meterloop_ingest', 'meterloop_signer') THEN
            found_cause := 'control_wrong_role';
        ELSIF NOT EXISTS (
            SELECT 1 FROM control.keep_release AS r
            WHERE r.id = NEW.keep_release AND r.usage_point = NEW.usage_point
              AND r.closed_at IS NULL AND lower(r.approved_by) <> lower(r.requested_by)
        ) THEN
            found_cause := 'control_not_approved';
        END IF;
    ELSIF NEW.verb = 'deliver_token' THEN
        IF current_user IN ('meterloop_billing', 'meterloop_portal', 'meterloop_ingest',
                            'meterloop_signer') THEN
            found_cause := 'control_wrong_role';
        ELSIF NOT EXISTS (
            SELECT 1 FROM control.token AS t
            WHERE t.id = NEW.token AND t.usage_point = NEW.usage_point AND t.meter = NEW.meter
              AND t.state = 'waiting'
              AND NOT EXISTS (
                  SELECT 1 FROM control.token AS o
                  WHERE o.meter = t.meter AND o.ended_at IS NULL AND o.id < t.id
              )
        ) THEN
            found_cause := 'control_not_its_turn';
        END IF;
    END IF;
    IF found_cause IS NOT NULL THEN
        RAISE EXCEPTION '% for % refused: %', NEW.verb, NEW.usage_point, found_cause
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = found_cause;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER command_guarded_too BEFORE INSERT ON control.command
    FOR EACH ROW EXECUTE FUNCTION control.guard_order();

-- A command that names a release or a token keeps naming it.
CREATE FUNCTION control.guard_command_source() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.keep_release, NEW.token) IS DISTINCT FROM (OLD.keep_release, OLD.token) THEN
        RAISE EXCEPTION 'command % may not be rewritten', OLD.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'control_rewrite';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER command_source_guarded BEFORE UPDATE ON control.command
    FOR EACH ROW EXECUTE FUNCTION control.guard_command_source();

-- The open command of a supply is the one that moves its switch: a token under way must not keep
-- a reconnect waiting.
CREATE OR REPLACE FUNCTION control.note_open_command() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE control.supply_state AS s
    SET open_command = (
        SELECT c.id FROM control.command AS c
        WHERE c.usage_point = NEW.usage_point AND c.ended_at IS NULL
          AND c.verb IN ('disconnect', 'reconnect')
        ORDER BY c.lock_seq DESC LIMIT 1
    )
    WHERE s.usage_point = NEW.usage_point;
    RETURN NULL;
END
$$;

GRANT SELECT ON control.keep_release, control.token TO meterloop_control, meterloop_signer,
    meterloop_billing, meterloop_portal, meterloop_ingest;
GRANT USAGE ON SEQUENCE control.keep_release_number TO meterloop_portal;
GRANT INSERT (usage_point, requested_by, reason, requested_at, expires_at),
      UPDATE (approved_by, approved_at) ON control.keep_release TO meterloop_portal;
GRANT UPDATE (closed_at, cause) ON control.keep_release TO meterloop_portal, meterloop_control;
GRANT INSERT (source, idempotency_key, usage_point, meter, kind, opaque, taken_at, expires_at)
    ON control.token TO meterloop_billing, meterloop_portal, meterloop_control;
GRANT UPDATE (state, tries, cause, evidence, ended_at, expires_at) ON control.token TO
    meterloop_control;
GRANT UPDATE (state, cause, ended_at, expires_at) ON control.token TO
    meterloop_billing, meterloop_portal;
-- every order names both columns; the guards above say who may fill them
GRANT INSERT (keep_release, token) ON control.command TO
    meterloop_control, meterloop_billing, meterloop_portal;
