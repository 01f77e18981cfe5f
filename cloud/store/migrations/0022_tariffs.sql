-- Published tariff versions: immutable, named by the hash of their canonical form.
CREATE SCHEMA tariffs;

CREATE TABLE tariffs.version (
    digest text NOT NULL,
    code text NOT NULL,
    number integer NOT NULL,
    currency text NOT NULL,
    zone text NOT NULL,
    valid_from date NOT NULL,
    valid_to date,
    document text NOT NULL,
    published_at timestamptz NOT NULL,
    published_by text NOT NULL,
    cases_passed integer NOT NULL,
    CONSTRAINT version_pk PRIMARY KEY (digest),
    CONSTRAINT version_number_unique UNIQUE (code, number),
    CONSTRAINT version_start_unique UNIQUE (code, valid_from),
    CONSTRAINT version_digest_form CHECK (digest ~ '^[0-9a-f]{64}$'),
    CONSTRAINT version_digest_true
        CHECK (digest = encode(sha256(convert_to(document, 'UTF8')), 'hex')),
    CONSTRAINT version_ends_later CHECK (valid_to IS NULL OR valid_to > valid_from),
    CONSTRAINT version_has_cases CHECK (cases_passed > 0)
);

CREATE TRIGGER version_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON tariffs.version
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT USAGE ON SCHEMA tariffs TO meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT ON tariffs.version TO meterloop_billing;
GRANT SELECT ON tariffs.version TO meterloop_portal;
