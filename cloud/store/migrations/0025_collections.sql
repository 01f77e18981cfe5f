-- The road to a cut: one open case per agreement, every step kept with its figures.
CREATE SCHEMA collections;

CREATE TABLE collections.dunning_case (
    id bigint GENERATED ALWAYS AS IDENTITY,
    agreement text NOT NULL,
    account text NOT NULL,
    usage_point text NOT NULL,
    state text NOT NULL,
    opened_at timestamptz NOT NULL,
    dunned_at timestamptz,
    notice_ends_at timestamptz,
    request_id text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL,
    closed_at timestamptz,
    steps integer NOT NULL DEFAULT 0,
    CONSTRAINT dunning_case_pk PRIMARY KEY (id)
);
CREATE UNIQUE INDEX dunning_case_open ON collections.dunning_case (agreement)
    WHERE closed_at IS NULL;
CREATE INDEX dunning_case_request ON collections.dunning_case (request_id);

CREATE TABLE collections.transition (
    case_id bigint NOT NULL REFERENCES collections.dunning_case (id),
    seq integer NOT NULL,
    at timestamptz NOT NULL,
    was text NOT NULL,
    event text NOT NULL,
    became text NOT NULL,
    actor text NOT NULL,
    reason text NOT NULL DEFAULT '',
    figures jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT transition_pk PRIMARY KEY (case_id, seq)
);
CREATE TRIGGER transition_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON collections.transition FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- How far each stream of others' facts has been taken in.
CREATE TABLE collections.watermark (
    stream text NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT watermark_pk PRIMARY KEY (stream)
);

GRANT USAGE ON SCHEMA collections TO meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA collections TO meterloop_billing;
GRANT UPDATE ON collections.dunning_case, collections.watermark
    TO meterloop_billing;
GRANT SELECT ON ALL TABLES IN SCHEMA collections TO meterloop_portal;
