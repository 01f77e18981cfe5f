-- The signer's own memory: what it signed, what it would not, and its own limits.
-- Nobody else may write here, so no other process can talk it out of its counts.
CREATE SCHEMA signer;

CREATE TABLE signer.signature (
    id bigint GENERATED ALWAYS AS IDENTITY,
    command text NOT NULL,
    part text NOT NULL,
    verb text NOT NULL,
    usage_point text NOT NULL,
    at timestamptz NOT NULL,
    wall_at timestamptz NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT signature_pk PRIMARY KEY (id),
    CONSTRAINT signature_once UNIQUE (command, part),
    CONSTRAINT signature_part_known CHECK (part IN ('command', 'go'))
);
CREATE INDEX signature_cuts ON signer.signature (at) WHERE verb = 'disconnect';

CREATE TABLE signer.refusal (
    id bigint GENERATED ALWAYS AS IDENTITY,
    command text NOT NULL,
    part text NOT NULL,
    cause text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT refusal_pk PRIMARY KEY (id)
);

CREATE TABLE signer.policy (
    id smallint NOT NULL DEFAULT 1,
    max_cuts_per_hour integer NOT NULL DEFAULT 60,
    max_cuts_per_day integer NOT NULL DEFAULT 200,
    CONSTRAINT policy_pk PRIMARY KEY (id),
    CONSTRAINT policy_one_row CHECK (id = 1)
);
COMMENT ON TABLE signer.policy IS 'business hours and days; changed by the database owner only';
INSERT INTO signer.policy DEFAULT VALUES;

CREATE TRIGGER signature_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.signature
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER refusal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON signer.refusal
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT USAGE ON SCHEMA signer TO meterloop_signer, meterloop_portal;
GRANT SELECT ON ALL TABLES IN SCHEMA signer TO meterloop_signer, meterloop_portal;
GRANT INSERT ON signer.signature, signer.refusal TO meterloop_signer;
