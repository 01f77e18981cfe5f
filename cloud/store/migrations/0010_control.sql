-- The hand on the switch. One row of supply_state is the lock that payment and cut both take.
CREATE SCHEMA control;

-- Drawn only while a supply row is locked: its order is the true order of acts on one supply.
CREATE SEQUENCE control.lock_order;
CREATE SEQUENCE control.request_number;

CREATE TABLE control.supply_state (
    usage_point text NOT NULL,
    transformer text NOT NULL DEFAULT '',
    feeder text NOT NULL DEFAULT '',
    protected boolean NOT NULL DEFAULT false,
    epoch bigint NOT NULL DEFAULT 1,
    open_command text,
    relay_state text NOT NULL DEFAULT 'unknown',
    state_at timestamptz,
    state_source text NOT NULL DEFAULT '',
    cut_for_arrears boolean NOT NULL DEFAULT false,
    restore_due_at timestamptz,
    restore_alarmed_at timestamptz,
    changed_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    published bigint NOT NULL DEFAULT 0,
    CONSTRAINT supply_state_pk PRIMARY KEY (usage_point),
    CONSTRAINT supply_relay_known
        CHECK (relay_state IN ('connected', 'disconnected', 'armed', 'unknown'))
);
CREATE INDEX supply_unpublished ON control.supply_state (usage_point) WHERE version <> published;
CREATE INDEX supply_restore_due ON control.supply_state (usage_point)
    WHERE restore_due_at IS NOT NULL;
CREATE INDEX supply_of_transformer ON control.supply_state (transformer);

-- What raised the fence: written by trigger, so that no writer can forget it.
CREATE TABLE control.supply_event (
    lock_seq bigint NOT NULL,
    usage_point text NOT NULL,
    epoch bigint NOT NULL,
    protected boolean NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT supply_event_pk PRIMARY KEY (lock_seq)
);
CREATE INDEX supply_event_of ON control.supply_event (usage_point, lock_seq);

CREATE FUNCTION control.note_supply() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.epoch < OLD.epoch THEN
            RAISE EXCEPTION 'the epoch of % may only rise', NEW.usage_point
                USING ERRCODE = 'integrity_constraint_violation',
                      CONSTRAINT = 'control_epoch_falls';
        END IF;
        IF (NEW.relay_state, NEW.open_command) IS DISTINCT FROM (OLD.relay_state, OLD.open_command)
        THEN
            NEW.version := OLD.version + 1;
        END IF;
        IF (NEW.epoch, NEW.protected) = (OLD.epoch, OLD.protected) THEN
            RETURN NEW;
        END IF;
    END IF;
    INSERT INTO control.supply_event (lock_seq, usage_point, epoch, protected, at)
    VALUES (nextval('control.lock_order'), NEW.usage_point, NEW.epoch, NEW.protected,
            NEW.changed_at);
    RETURN NEW;
END
$$;
CREATE TRIGGER supply_noted BEFORE INSERT OR UPDATE ON control.supply_state
    FOR EACH ROW EXECUTE FUNCTION control.note_supply();

-- Standing bans, at the level of a feeder, a transformer area or one customer (D8).
CREATE TABLE control.protection (
    id bigint GENERATED ALWAYS AS IDENTITY,
    level text NOT NULL,
    target text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_until timestamptz,
    ended_at timestamptz,
    CONSTRAINT protection_pk PRIMARY KEY (id),
    CONSTRAINT protection_level_known CHECK (level IN ('feeder', 'transformer', 'usage_point')),
    CONSTRAINT protection_reasoned CHECK (reason <> '' AND target <> '')
);
CREATE UNIQUE INDEX protection_one_open ON control.protection (level, target)
    WHERE ended_at IS NULL;

-- Reasons not to cut for now: dispute, promise, instalments, grace.
CREATE TABLE control.hold (
    id bigint GENERATED ALWAYS AS IDENTITY,
    usage_point text NOT NULL,
    kind text NOT NULL,
    ref text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    placed_at timestamptz NOT NULL,
    until timestamptz,
    released_at timestamptz,
    CONSTRAINT hold_pk PRIMARY KEY (id),
    CONSTRAINT hold_ref_unique UNIQUE (usage_point, ref)
);
CREATE INDEX hold_open ON control.hold (usage_point) WHERE released_at IS NULL;

-- Settings of the gate: one row.
CREATE TABLE control.policy (
    id smallint NOT NULL DEFAULT 1,
    zone text NOT NULL DEFAULT 'Asia/Shanghai',
    window_start_hour smallint NOT NULL DEFAULT 8,
    window_end_hour smallint NOT NULL DEFAULT 15,
    weekdays smallint[] NOT NULL DEFAULT '{1,2,3,4}',
    max_cuts_per_hour integer NOT NULL DEFAULT 50,
    max_cuts_per_day integer NOT NULL DEFAULT 100,
    max_cuts_per_transformer_day integer NOT NULL DEFAULT 5,
    request_valid_hours integer NOT NULL DEFAULT 96,
    recheck_valid_hours integer NOT NULL DEFAULT 24,
    command_ttl_seconds integer NOT NULL DEFAULT 60,
    handshake_seconds integer NOT NULL DEFAULT 30,
    restore_retry_seconds integer NOT NULL DEFAULT 20,
    restore_alarm_seconds integer NOT NULL DEFAULT 900,
    cut_tries integer NOT NULL DEFAULT 3,
    CONSTRAINT policy_pk PRIMARY KEY (id),
    CONSTRAINT policy_one_row CHECK (id = 1),
    CONSTRAINT policy_window CHECK (window_start_hour >= 0 AND window_end_hour <= 24
        AND window_start_hour < window_end_hour)
);
COMMENT ON TABLE control.policy IS 'seconds are wall time, hours are business time';
INSERT INTO control.policy DEFAULT VALUES;

CREATE TABLE control.halt (
    id smallint NOT NULL DEFAULT 1,
    halted boolean NOT NULL DEFAULT false,
    actor text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    at timestamptz,
    CONSTRAINT halt_pk PRIMARY KEY (id),
    CONSTRAINT halt_one_row CHECK (id = 1)
);
INSERT INTO control.halt DEFAULT VALUES;

CREATE TABLE control.request (
    id text NOT NULL DEFAULT 'K-' || lpad(nextval('control.request_number')::text, 6, '0'),
    usage_point text NOT NULL,
    state text NOT NULL,
    cause text NOT NULL DEFAULT '',
    waits_for text NOT NULL DEFAULT '',
    requested_by text NOT NULL,
    reason text NOT NULL,
    figures jsonb NOT NULL,
    epoch bigint NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    rechecked_at timestamptz,
    recheck_figures jsonb,
    ordered_at timestamptz,
    tries integer NOT NULL DEFAULT 0,
    final_at timestamptz,
    CONSTRAINT request_pk PRIMARY KEY (id),
    CONSTRAINT request_state_known CHECK (state IN ('requested', 'approved_1', 'approved_2',
        'rechecked', 'ordered', 'cut', 'failed', 'refused', 'cancelled')),
    CONSTRAINT request_named CHECK (requested_by ~ '^(user|system):.+' AND reason <> '')
);
CREATE UNIQUE INDEX request_one_open ON control.request (usage_point)
    WHERE state IN ('requested', 'approved_1', 'approved_2', 'rechecked', 'ordered');
CREATE INDEX request_by_state ON control.request (state, created_at);
CREATE INDEX request_of ON control.request (usage_point, created_at);

-- Two people, neither of them the one who asked: three constraints and a trigger say so (D2, C3).
CREATE TABLE control.approval (
    request text NOT NULL,
    position smallint NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT approval_pk PRIMARY KEY (request, position),
    CONSTRAINT approval_request FOREIGN KEY (request) REFERENCES control.request (id),
    CONSTRAINT approval_position CHECK (position IN (1, 2)),
    CONSTRAINT approval_by_person CHECK (actor ~ '^user:.+')
);
CREATE UNIQUE INDEX approval_two_people ON control.approval (request, lower(actor));

CREATE FUNCTION control.guard_approval() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked control.request;
BEGIN
    SELECT * INTO asked FROM control.request AS r WHERE r.id = NEW.request FOR UPDATE;
    IF lower(asked.requested_by) = lower(NEW.actor) THEN
        RAISE EXCEPTION '% asked for this cut and cannot approve it', NEW.actor
            USING ERRCODE = 'integrity_constraint_violation',
                  CONSTRAINT = 'approval_not_requester';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER approval_guarded BEFORE INSERT ON control.approval
    FOR EACH ROW EXECUTE FUNCTION control.guard_approval();
CREATE TRIGGER approval_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON control.approval
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE TABLE control.command (
    id text NOT NULL DEFAULT 'CM-' || replace(gen_random_uuid()::text, '-', ''),
    lock_seq bigint NOT NULL DEFAULT 0,
    usage_point text NOT NULL,
    transformer text NOT NULL DEFAULT '',
    meter text NOT NULL,
    concentrator text NOT NULL,
    verb text NOT NULL,
    request text,
    epoch bigint NOT NULL,
    cuts_left integer,
    issued_by text NOT NULL,
    reason text NOT NULL DEFAULT '',
    issued_at timestamptz NOT NULL,
    local_day date,
    not_before timestamptz,
    expires timestamptz,
    body bytea,
    signature bytea,
    signed_at timestamptz,
    signer_refusal text,
    state text NOT NULL DEFAULT 'issued',
    dispatched_at timestamptz,
    nonce bytea,
    ended_at timestamptz,
    end_reason text NOT NULL DEFAULT '',
    evidence jsonb,
    CONSTRAINT command_pk PRIMARY KEY (id),
    CONSTRAINT command_request FOREIGN KEY (request) REFERENCES control.request (id),
    CONSTRAINT command_verb_known CHECK (verb IN ('disconnect', 'reconnect', 'read_relay')),
    CONSTRAINT command_state_known CHECK (state IN ('issued', 'dispatched', 'accepted',
        'challenged', 'released', 'started', 'unknown', 'done', 'armed', 'refused', 'failed',
        'expired', 'cancelled')),
    CONSTRAINT command_cut_requested CHECK (verb <> 'disconnect' OR request IS NOT NULL),
    CONSTRAINT command_signed_whole CHECK (signature IS NULL OR body IS NOT NULL)
);
CREATE UNIQUE INDEX command_one_open ON control.command (usage_point, verb)
    WHERE ended_at IS NULL;
CREATE INDEX command_open ON control.command (lock_seq) WHERE ended_at IS NULL;
CREATE INDEX command_of ON control.command (usage_point, lock_seq);
CREATE INDEX command_of_request ON control.command (request);
CREATE INDEX command_cuts ON control.command (issued_at) WHERE verb = 'disconnect';
CREATE UNIQUE INDEX command_nonce ON control.command (nonce) WHERE nonce IS NOT NULL;

-- The permission that ends the handshake. Written after the gate was passed again; released to
-- the wire once, under the lock, which is the point after which a payment needs a reconnect.
CREATE TABLE control.go (
    command text NOT NULL,
    nonce bytea NOT NULL,
    made_at timestamptz NOT NULL,
    body bytea NOT NULL,
    signature bytea,
    signed_at timestamptz,
    signer_refusal text,
    released_at timestamptz,
    release_seq bigint,
    CONSTRAINT go_pk PRIMARY KEY (command),
    CONSTRAINT go_command FOREIGN KEY (command) REFERENCES control.command (id),
    CONSTRAINT go_nonce_unique UNIQUE (nonce)
);
CREATE INDEX go_unreleased ON control.go (command) WHERE released_at IS NULL;

CREATE FUNCTION control.refuse(supply control.supply_state, epoch bigint, at timestamptz)
RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN supply.protected OR EXISTS (
            SELECT 1 FROM control.protection AS p
            WHERE p.ended_at IS NULL AND p.valid_from <= at
              AND (p.valid_until IS NULL OR p.valid_until > at)
              AND ((p.level = 'usage_point' AND p.target = supply.usage_point)
                OR (p.level = 'transformer' AND p.target = supply.transformer)
                OR (p.level = 'feeder' AND p.target = supply.feeder))
        ) THEN 'control_protected'
        WHEN supply.epoch <> epoch THEN 'control_epoch'
        WHEN EXISTS (SELECT 1 FROM control.halt AS h WHERE h.halted) THEN 'control_halted'
        WHEN EXISTS (
            SELECT 1 FROM control.hold AS h
            WHERE h.usage_point = supply.usage_point AND h.released_at IS NULL
              AND (h.until IS NULL OR h.until > at)
        ) THEN 'control_hold'
    END
$$;

-- The backstop (C1, C2, C3): refuses a cut whoever inserts it, the owner of the database included.
CREATE FUNCTION control.guard_command() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    supply control.supply_state;
    asked control.request;
    found_cause text;
BEGIN
    SELECT * INTO supply FROM control.supply_state AS s
    WHERE s.usage_point = NEW.usage_point FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no supply state for %', NEW.usage_point
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'control_no_supply';
    END IF;
    NEW.lock_seq := nextval('control.lock_order');
    IF NEW.verb <> 'disconnect' THEN
        RETURN NEW;
    END IF;
    found_cause := control.refuse(supply, NEW.epoch, NEW.issued_at);
    IF found_cause IS NULL AND current_user IN ('meterloop_billing', 'meterloop_portal',
                                                'meterloop_ingest', 'meterloop_signer') THEN
        found_cause := 'control_wrong_role';
    END IF;
    IF found_cause IS NULL THEN
        SELECT * INTO asked FROM control.request AS r
        WHERE r.id = NEW.request AND r.usage_point = NEW.usage_point AND r.epoch = NEW.epoch
        FOR UPDATE;
        IF NOT FOUND OR asked.state <> 'rechecked' OR 2 > (
            SELECT count(DISTINCT lower(a.actor)) FROM control.approval AS a
            WHERE a.request = NEW.request AND lower(a.actor) <> lower(asked.requested_by)
        ) THEN
            found_cause := 'control_not_approved';
        END IF;
    END IF;
    IF found_cause IS NULL AND EXISTS (
        SELECT 1 FROM control.command AS c
        WHERE c.usage_point = NEW.usage_point AND c.ended_at IS NULL
    ) THEN
        found_cause := 'control_command_open';
    END IF;
    IF found_cause IS NOT NULL THEN
        RAISE EXCEPTION 'cut of % refused: %', NEW.usage_point, found_cause
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = found_cause;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER command_guarded BEFORE INSERT ON control.command
    FOR EACH ROW EXECUTE FUNCTION control.guard_command();

-- What was ordered never changes afterwards, and an end is for good.
CREATE FUNCTION control.guard_command_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.lock_seq, NEW.usage_point, NEW.meter, NEW.concentrator, NEW.verb, NEW.epoch,
        NEW.issued_at, NEW.issued_by)
       IS DISTINCT FROM
       (OLD.id, OLD.lock_seq, OLD.usage_point, OLD.meter, OLD.concentrator, OLD.verb, OLD.epoch,
        OLD.issued_at, OLD.issued_by)
       OR (OLD.request IS NOT NULL AND NEW.request IS DISTINCT FROM OLD.request)
       OR (OLD.body IS NOT NULL AND NEW.body IS DISTINCT FROM OLD.body)
       OR (OLD.signature IS NOT NULL AND NEW.signature IS DISTINCT FROM OLD.signature)
       OR (OLD.ended_at IS NOT NULL AND (NEW.state, NEW.ended_at) IS DISTINCT FROM
                                        (OLD.state, OLD.ended_at)) THEN
        RAISE EXCEPTION 'command % may not be rewritten', OLD.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'control_rewrite';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER command_change_guarded BEFORE UPDATE ON control.command
    FOR EACH ROW EXECUTE FUNCTION control.guard_command_change();

CREATE FUNCTION control.note_open_command() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE control.supply_state AS s
    SET open_command = (
        SELECT c.id FROM control.command AS c
        WHERE c.usage_point = NEW.usage_point AND c.ended_at IS NULL
        ORDER BY c.lock_seq DESC LIMIT 1
    )
    WHERE s.usage_point = NEW.usage_point;
    RETURN NULL;
END
$$;
CREATE TRIGGER command_open_noted AFTER INSERT OR UPDATE OF ended_at ON control.command
    FOR EACH ROW EXECUTE FUNCTION control.note_open_command();

CREATE FUNCTION control.guard_go() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    ordered control.command;
    supply control.supply_state;
    found_cause text;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (NEW.command, NEW.nonce, NEW.body, NEW.made_at) IS DISTINCT FROM
           (OLD.command, OLD.nonce, OLD.body, OLD.made_at)
           OR (OLD.signature IS NOT NULL AND NEW.signature IS DISTINCT FROM OLD.signature)
           OR (OLD.released_at IS NOT NULL AND NEW.released_at IS DISTINCT FROM OLD.released_at)
        THEN
            found_cause := 'control_rewrite';
        ELSIF NEW.released_at IS NOT DISTINCT FROM OLD.released_at THEN
            RETURN NEW;
        END IF;
    END IF;
    SELECT * INTO ordered FROM control.command AS c WHERE c.id = NEW.command;
    SELECT * INTO supply FROM control.supply_state AS s
    WHERE s.usage_point = ordered.usage_point FOR UPDATE;
    -- read again: it may have been ended while this transaction waited for the supply row
    SELECT * INTO ordered FROM control.command AS c WHERE c.id = NEW.command;
    IF found_cause IS NULL THEN
        found_cause := control.refuse(supply, ordered.epoch, coalesce(NEW.released_at, NEW.made_at));
    END IF;
    IF found_cause IS NULL AND (ordered.verb <> 'disconnect' OR ordered.ended_at IS NOT NULL
        OR ordered.nonce IS DISTINCT FROM NEW.nonce) THEN
        found_cause := 'control_no_challenge';
    END IF;
    IF found_cause IS NULL AND NEW.released_at IS NOT NULL THEN
        IF NEW.signature IS NULL THEN
            found_cause := 'control_unsigned';
        ELSE
            NEW.release_seq := nextval('control.lock_order');
        END IF;
    END IF;
    IF found_cause IS NOT NULL THEN
        RAISE EXCEPTION 'go for % refused: %', NEW.command, found_cause
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = found_cause;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER go_guarded BEFORE INSERT OR UPDATE ON control.go
    FOR EACH ROW EXECUTE FUNCTION control.guard_go();

-- What the edge said about a command; a repeat is the same row.
CREATE TABLE control.ack (
    id text NOT NULL,
    stage text NOT NULL,
    meter text NOT NULL,
    concentrator text NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    nonce bytea,
    reason text NOT NULL DEFAULT '',
    evidence jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT ack_pk PRIMARY KEY (id, stage)
);
-- Acks that fit no command of that meter and concentrator: kept, counted, never acted on (C4).
CREATE TABLE control.stray_ack (
    id text NOT NULL,
    stage text NOT NULL,
    concentrator text NOT NULL,
    meter text NOT NULL,
    received_at timestamptz NOT NULL,
    cause text NOT NULL,
    CONSTRAINT stray_ack_pk PRIMARY KEY (id, stage, concentrator)
);

-- The one end of a command, or of a request that never became one.
CREATE TABLE control.outcome (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    usage_point text NOT NULL,
    request text,
    command text,
    verb text NOT NULL,
    result text NOT NULL,
    cause text NOT NULL DEFAULT '',
    at timestamptz NOT NULL,
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT outcome_pk PRIMARY KEY (seq),
    CONSTRAINT outcome_of_something CHECK (request IS NOT NULL OR command IS NOT NULL
        OR verb = 'alarm'),
    CONSTRAINT outcome_result_known CHECK (result IN ('done', 'armed', 'refused', 'failed',
        'expired', 'cancelled', 'overdue'))
);
CREATE UNIQUE INDEX outcome_one_per_command ON control.outcome (command)
    WHERE command IS NOT NULL;
CREATE INDEX outcome_of_request ON control.outcome (request);

CREATE TRIGGER outcome_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON control.outcome
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER ack_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON control.ack
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER supply_event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON control.supply_event FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Who may write what. Signatures are the signer's alone; approvals are the portal's alone.
GRANT USAGE ON SCHEMA control TO
    meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal, meterloop_ingest;
GRANT SELECT ON ALL TABLES IN SCHEMA control TO
    meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal, meterloop_ingest;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA control TO
    meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE ON control.supply_state, control.request, control.hold, control.protection TO
    meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT ON control.supply_event, control.outcome TO
    meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT (usage_point, transformer, meter, concentrator, verb, request, epoch, cuts_left,
              issued_by, reason, issued_at, local_day, lock_seq) ON control.command TO
    meterloop_control, meterloop_billing, meterloop_portal;
GRANT UPDATE (state, ended_at, end_reason, evidence) ON control.command TO
    meterloop_control, meterloop_billing, meterloop_portal;
GRANT UPDATE (not_before, expires, body, dispatched_at, nonce, request) ON control.command TO
    meterloop_control;
GRANT INSERT (command, nonce, made_at, body), UPDATE (released_at, release_seq) ON control.go TO
    meterloop_control;
GRANT INSERT ON control.ack, control.stray_ack TO meterloop_control;
GRANT INSERT ON control.approval TO meterloop_portal;
GRANT UPDATE ON control.halt, control.policy TO meterloop_portal, meterloop_control;
GRANT UPDATE (signature, signed_at, signer_refusal) ON control.command, control.go TO
    meterloop_signer;
