-- Care of agents and meters from afar: images, and rollouts of settings, firmware and keys.
CREATE SCHEMA upkeep;

CREATE SEQUENCE upkeep.rollout_number;

-- An image is named by its SHA-256 and never changes; its octets stand in numbered blocks.
CREATE TABLE upkeep.image (
    sha256 bytea NOT NULL,
    model text NOT NULL,
    version text NOT NULL,
    identifier bytea NOT NULL,
    octets integer NOT NULL,
    block_octets integer NOT NULL,
    uploaded_by text NOT NULL,
    uploaded_at timestamptz NOT NULL,
    CONSTRAINT image_pk PRIMARY KEY (sha256),
    CONSTRAINT image_version_once UNIQUE (model, version),
    CONSTRAINT image_digest CHECK (octet_length(sha256) = 32),
    CONSTRAINT image_size CHECK (octets BETWEEN 1 AND 16777216),
    CONSTRAINT image_block_size CHECK (block_octets BETWEEN 256 AND 65536),
    CONSTRAINT image_identifier CHECK (octet_length(identifier) BETWEEN 1 AND 64),
    CONSTRAINT image_named CHECK (model <> '' AND version <> ''),
    CONSTRAINT image_by_person CHECK (uploaded_by ~ '^user:.+')
);

CREATE TABLE upkeep.image_block (
    image bytea NOT NULL,
    index integer NOT NULL,
    octets bytea NOT NULL,
    CONSTRAINT image_block_pk PRIMARY KEY (image, index),
    CONSTRAINT image_block_of FOREIGN KEY (image) REFERENCES upkeep.image (sha256),
    CONSTRAINT image_block_size CHECK (octet_length(octets) BETWEEN 1 AND 65536 AND index >= 0)
);

-- What somebody asked for, for many targets: a few of them first, the rest only after success.
CREATE TABLE upkeep.rollout (
    id text NOT NULL DEFAULT 'RO-' || lpad(nextval('upkeep.rollout_number')::text, 6, '0'),
    kind text NOT NULL,
    state text NOT NULL,
    cause text NOT NULL DEFAULT '',
    requested_by text NOT NULL,
    reason text NOT NULL,
    requested_at timestamptz NOT NULL,
    approved_by text,
    approved_at timestamptz,
    first_targets integer NOT NULL,
    success_permille integer NOT NULL,
    most_open integer NOT NULL,
    until timestamptz NOT NULL,
    settings jsonb,
    image bytea,
    activate boolean NOT NULL DEFAULT false,
    activate_at timestamptz,
    ended_at timestamptz,
    CONSTRAINT rollout_pk PRIMARY KEY (id),
    CONSTRAINT rollout_image FOREIGN KEY (image) REFERENCES upkeep.image (sha256),
    CONSTRAINT rollout_kind_known CHECK (kind IN ('configuration', 'firmware', 'activation',
        'rekey')),
    CONSTRAINT rollout_state_known CHECK (state IN ('asked', 'first', 'rest', 'finished', 'halted',
        'withdrawn', 'lapsed')),
    CONSTRAINT rollout_reasoned CHECK (reason <> ''),
    CONSTRAINT rollout_by_person CHECK (requested_by ~ '^user:.+'),
    CONSTRAINT rollout_approved_by_person CHECK (approved_by ~ '^user:.+'),
    CONSTRAINT rollout_two_people CHECK (lower(approved_by) <> lower(requested_by)),
    -- one person may change settings; firmware and keys take a second one before anything runs
    CONSTRAINT rollout_approved CHECK (kind = 'configuration' OR approved_by IS NOT NULL
        OR state IN ('asked', 'withdrawn', 'lapsed')),
    CONSTRAINT rollout_stages CHECK (first_targets >= 1 AND most_open >= 1
        AND success_permille BETWEEN 0 AND 1000),
    CONSTRAINT rollout_span CHECK (until > requested_at
        AND until <= requested_at + interval '7 days'),
    CONSTRAINT rollout_whole CHECK ((settings IS NOT NULL) = (kind = 'configuration')
        AND (image IS NOT NULL) = (kind IN ('firmware', 'activation'))),
    CONSTRAINT rollout_activation CHECK (activate_at IS NULL OR (activate AND kind = 'firmware'))
);
CREATE INDEX rollout_open ON upkeep.rollout (requested_at) WHERE ended_at IS NULL;

CREATE FUNCTION upkeep.guard_rollout_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.id, NEW.kind, NEW.requested_by, NEW.reason, NEW.requested_at, NEW.first_targets,
        NEW.success_permille, NEW.most_open, NEW.until, NEW.settings, NEW.image, NEW.activate,
        NEW.activate_at)
       IS DISTINCT FROM
       (OLD.id, OLD.kind, OLD.requested_by, OLD.reason, OLD.requested_at, OLD.first_targets,
        OLD.success_permille, OLD.most_open, OLD.until, OLD.settings, OLD.image, OLD.activate,
        OLD.activate_at)
       OR (OLD.approved_by IS NOT NULL AND (NEW.approved_by, NEW.approved_at)
           IS DISTINCT FROM (OLD.approved_by, OLD.approved_at))
       OR (OLD.ended_at IS NOT NULL AND (NEW.state, NEW.ended_at)
           IS DISTINCT FROM (OLD.state, OLD.ended_at)) THEN
        RAISE EXCEPTION 'rollout % may not be rewritten', OLD.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'upkeep_rewrite';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER rollout_change_guarded BEFORE UPDATE ON upkeep.rollout
    FOR EACH ROW EXECUTE FUNCTION upkeep.guard_rollout_change();

-- The part of one concentrator or one meter in a rollout: what is signed, sent, answered.
-- A concentrator's own settings have its name as `meter`; an activation has as `source` the errand
-- that brought the image into that meter.
CREATE TABLE upkeep.errand (
    id text NOT NULL DEFAULT 'upkeep-' || replace(gen_random_uuid()::text, '-', ''),
    rollout text NOT NULL,
    position integer NOT NULL,
    kind text NOT NULL,
    concentrator text NOT NULL,
    meter text NOT NULL,
    sealed bytea,
    source text,
    revision bigint,
    state text NOT NULL DEFAULT 'waiting',
    issued_at timestamptz,
    not_before timestamptz,
    expires timestamptz,
    body bytea,
    signature bytea,
    signed_at timestamptz,
    signer_refusal text,
    dispatched_at timestamptz,
    progress jsonb,
    ended_at timestamptz,
    end_reason text NOT NULL DEFAULT '',
    evidence jsonb,
    CONSTRAINT errand_pk PRIMARY KEY (id),
    CONSTRAINT errand_rollout FOREIGN KEY (rollout) REFERENCES upkeep.rollout (id),
    CONSTRAINT errand_source FOREIGN KEY (source) REFERENCES upkeep.errand (id),
    CONSTRAINT errand_sourced CHECK ((source IS NOT NULL) = (kind = 'activation')),
    CONSTRAINT errand_position UNIQUE (rollout, position),
    CONSTRAINT errand_kind_known CHECK (kind IN ('configuration', 'firmware', 'activation',
        'rekey')),
    CONSTRAINT errand_state_known CHECK (state IN ('waiting', 'issued', 'dispatched', 'accepted',
        'started', 'done', 'refused', 'failed', 'expired', 'cancelled')),
    CONSTRAINT errand_sealed CHECK ((sealed IS NOT NULL) = (kind = 'rekey')
        AND octet_length(sealed) BETWEEN 1 AND 256),
    CONSTRAINT errand_revision CHECK (revision IS NULL OR kind = 'configuration'),
    CONSTRAINT errand_revision_once UNIQUE (concentrator, revision),
    CONSTRAINT errand_signed_whole CHECK (signature IS NULL OR body IS NOT NULL),
    CONSTRAINT errand_ends_once CHECK ((ended_at IS NOT NULL)
        = (state IN ('done', 'refused', 'failed', 'expired', 'cancelled')))
);
CREATE UNIQUE INDEX errand_one_open ON upkeep.errand (meter, kind) WHERE ended_at IS NULL;
CREATE INDEX errand_open ON upkeep.errand (rollout, position) WHERE ended_at IS NULL;

CREATE FUNCTION upkeep.guard_errand_change() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked upkeep.rollout;
BEGIN
    IF (NEW.id, NEW.rollout, NEW.position, NEW.kind, NEW.concentrator, NEW.meter, NEW.sealed,
        NEW.source)
       IS DISTINCT FROM
       (OLD.id, OLD.rollout, OLD.position, OLD.kind, OLD.concentrator, OLD.meter, OLD.sealed,
        OLD.source)
       OR (OLD.body IS NOT NULL AND (NEW.body, NEW.revision, NEW.expires)
           IS DISTINCT FROM (OLD.body, OLD.revision, OLD.expires))
       OR (OLD.signature IS NOT NULL AND NEW.signature IS DISTINCT FROM OLD.signature)
       OR (OLD.ended_at IS NOT NULL AND (NEW.state, NEW.ended_at)
           IS DISTINCT FROM (OLD.state, OLD.ended_at)) THEN
        RAISE EXCEPTION 'errand % may not be rewritten', OLD.id
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'upkeep_rewrite';
    END IF;
    IF OLD.body IS NULL AND NEW.body IS NOT NULL THEN
        SELECT * INTO asked FROM upkeep.rollout AS r WHERE r.id = NEW.rollout;
        IF asked.state NOT IN ('first', 'rest') OR asked.kind <> NEW.kind
           OR (asked.kind <> 'configuration' AND asked.approved_by IS NULL) THEN
            RAISE EXCEPTION 'errand % belongs to no rollout that runs', OLD.id
                USING ERRCODE = 'integrity_constraint_violation',
                      CONSTRAINT = 'upkeep_not_approved';
        END IF;
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER errand_change_guarded BEFORE UPDATE ON upkeep.errand
    FOR EACH ROW EXECUTE FUNCTION upkeep.guard_errand_change();

-- Targets are named when a rollout is asked for; none is slipped in after its approval.
CREATE FUNCTION upkeep.guard_errand() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked upkeep.rollout;
BEGIN
    SELECT * INTO asked FROM upkeep.rollout AS r WHERE r.id = NEW.rollout FOR UPDATE;
    IF asked.state <> 'asked' OR asked.kind <> NEW.kind OR asked.approved_by IS NOT NULL
       OR NEW.state <> 'waiting' OR NEW.body IS NOT NULL OR NEW.signature IS NOT NULL THEN
        RAISE EXCEPTION 'rollout % takes no more targets', NEW.rollout
            USING ERRCODE = 'integrity_constraint_violation', CONSTRAINT = 'upkeep_late_target';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER errand_guarded BEFORE INSERT ON upkeep.errand
    FOR EACH ROW EXECUTE FUNCTION upkeep.guard_errand();

-- The newest revision of settings that a concentrator was given; the row is the lock.
CREATE TABLE upkeep.revision (
    concentrator text NOT NULL,
    newest bigint NOT NULL,
    CONSTRAINT revision_pk PRIMARY KEY (concentrator),
    CONSTRAINT revision_rises CHECK (newest >= 1)
);

-- What the edge said of an errand; a repeat is the same row.
CREATE TABLE upkeep.ack (
    id text NOT NULL,
    stage text NOT NULL,
    meter text NOT NULL,
    concentrator text NOT NULL,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    reason text NOT NULL DEFAULT '',
    evidence jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT ack_pk PRIMARY KEY (id, stage)
);
-- Acks that fit no errand of that target and concentrator: kept, counted, never acted on.
CREATE TABLE upkeep.stray_ack (
    id text NOT NULL,
    stage text NOT NULL,
    concentrator text NOT NULL,
    meter text NOT NULL,
    received_at timestamptz NOT NULL,
    cause text NOT NULL,
    CONSTRAINT stray_ack_pk PRIMARY KEY (id, stage, concentrator)
);

-- The signer's own memory of these, and its own limits.
CREATE TABLE signer.upkeep_signature (
    id bigint GENERATED ALWAYS AS IDENTITY,
    errand text NOT NULL,
    kind text NOT NULL,
    target text NOT NULL,
    at timestamptz NOT NULL,
    wall_at timestamptz NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT upkeep_signature_pk PRIMARY KEY (id),
    CONSTRAINT upkeep_signature_once UNIQUE (errand)
);
CREATE INDEX upkeep_signature_at ON signer.upkeep_signature (kind, at);
CREATE TABLE signer.upkeep_refusal (
    id bigint GENERATED ALWAYS AS IDENTITY,
    errand text NOT NULL,
    cause text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT upkeep_refusal_pk PRIMARY KEY (id)
);
CREATE TABLE signer.upkeep_policy (
    id smallint NOT NULL DEFAULT 1,
    max_configurations_per_day integer NOT NULL DEFAULT 5000,
    max_firmware_per_day integer NOT NULL DEFAULT 500,
    max_rekeys_per_day integer NOT NULL DEFAULT 500,
    CONSTRAINT upkeep_policy_pk PRIMARY KEY (id),
    CONSTRAINT upkeep_policy_one_row CHECK (id = 1)
);
COMMENT ON TABLE signer.upkeep_policy IS 'business days; changed by the database owner only';
INSERT INTO signer.upkeep_policy DEFAULT VALUES;

CREATE TRIGGER image_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON upkeep.image
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER image_block_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON upkeep.image_block
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER ack_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON upkeep.ack
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER upkeep_signature_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON signer.upkeep_signature FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER upkeep_refusal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON signer.upkeep_refusal FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Who may write what. The portal asks and approves, control conducts, the signer alone signs.
GRANT USAGE ON SCHEMA upkeep TO meterloop_control, meterloop_signer, meterloop_portal;
GRANT SELECT ON ALL TABLES IN SCHEMA upkeep TO meterloop_control, meterloop_signer, meterloop_portal;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA upkeep TO meterloop_portal;
GRANT INSERT ON upkeep.image, upkeep.image_block, upkeep.rollout TO meterloop_portal;
GRANT INSERT (rollout, position, kind, concentrator, meter, sealed, source) ON upkeep.errand
    TO meterloop_portal;
GRANT UPDATE (state, cause, approved_by, approved_at, ended_at) ON upkeep.rollout
    TO meterloop_portal;
GRANT UPDATE (state, cause, ended_at) ON upkeep.rollout TO meterloop_control;
GRANT UPDATE (state, ended_at, end_reason, evidence) ON upkeep.errand TO meterloop_portal;
GRANT UPDATE (state, revision, issued_at, not_before, expires, body, dispatched_at, progress,
              ended_at, end_reason, evidence) ON upkeep.errand TO meterloop_control;
GRANT INSERT, UPDATE ON upkeep.revision TO meterloop_control;
GRANT INSERT ON upkeep.ack, upkeep.stray_ack TO meterloop_control;
GRANT UPDATE (signature, signed_at, signer_refusal) ON upkeep.errand TO meterloop_signer;
GRANT SELECT ON signer.upkeep_signature, signer.upkeep_refusal, signer.upkeep_policy
    TO meterloop_signer, meterloop_portal;
GRANT INSERT ON signer.upkeep_signature, signer.upkeep_refusal TO meterloop_signer;
