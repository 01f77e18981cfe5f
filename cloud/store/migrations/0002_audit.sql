-- Who did what to a switch or to money, in the same transaction as the act itself.
CREATE SCHEMA audit;

CREATE TABLE audit.event (
    id bigint GENERATED ALWAYS AS IDENTITY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    on_behalf text NOT NULL DEFAULT '',
    action text NOT NULL,
    entity text NOT NULL,
    entity_id text NOT NULL,
    before jsonb,
    after jsonb,
    reason text NOT NULL DEFAULT '',
    request_id text NOT NULL DEFAULT '',
    txid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    CONSTRAINT event_pk PRIMARY KEY (id),
    CONSTRAINT event_actor_named CHECK (actor <> '')
);

CREATE INDEX event_entity ON audit.event (entity, entity_id, id);

-- The chain: a seal covers the events that were committed when it was made and names its forerunner.
-- Events are sealed a moment after their commit so that no act waits for another's hash.
CREATE TABLE audit.seal (
    seq bigint NOT NULL,
    made_at timestamptz NOT NULL,
    events bigint[] NOT NULL,
    previous bytea NOT NULL,
    digest bytea NOT NULL,
    CONSTRAINT seal_pk PRIMARY KEY (seq),
    CONSTRAINT seal_digest_unique UNIQUE (digest)
);

CREATE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'append_only: % is append-only', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END
$$;

CREATE TRIGGER event_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.event
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER seal_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit.seal
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT USAGE ON SCHEMA audit TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT ON audit.event TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT ON audit.seal TO meterloop_control;
