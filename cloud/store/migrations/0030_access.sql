-- Who may sign in, as what, and the sign-in sessions. All instants here but granted_at and
-- made_at are wall time: a session is what a person at a screen waits for.
CREATE SCHEMA access;

CREATE TABLE access.person (
    login text NOT NULL,
    name text NOT NULL,
    language text NOT NULL,
    calendar text NOT NULL DEFAULT 'gregorian',
    password_hash text NOT NULL,
    made_at timestamptz NOT NULL,
    disabled_at timestamptz,
    CONSTRAINT person_pk PRIMARY KEY (login),
    CONSTRAINT person_login_form CHECK (login ~ '^[a-z0-9][a-z0-9_.-]{0,63}$'),
    CONSTRAINT person_language_known CHECK (language IN ('fa', 'zh', 'uz', 'ru', 'en')),
    CONSTRAINT person_calendar_known CHECK (calendar IN ('gregorian', 'persian'))
);

-- A role within a unit of the company; for the role customer, at one usage point.
CREATE TABLE access.assignment (
    login text NOT NULL REFERENCES access.person (login),
    role text NOT NULL,
    unit text NOT NULL DEFAULT '',
    usage_point text NOT NULL DEFAULT '',
    granted_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT assignment_pk PRIMARY KEY (login, role, unit, usage_point),
    CONSTRAINT assignment_role_known CHECK (
        role IN ('customer', 'operator', 'approver', 'crew', 'teller', 'manager')
    ),
    CONSTRAINT assignment_customer_has_point CHECK ((role = 'customer') = (usage_point <> ''))
);

CREATE TABLE access.session (
    token_hash bytea NOT NULL,
    login text NOT NULL REFERENCES access.person (login),
    made_wall timestamptz NOT NULL,
    seen_wall timestamptz NOT NULL,
    idle_seconds integer NOT NULL,
    stepped_up_wall timestamptz,
    ended_wall timestamptz,
    address text NOT NULL,
    CONSTRAINT session_pk PRIMARY KEY (token_hash),
    CONSTRAINT session_hash_is_sha256 CHECK (octet_length(token_hash) = 32)
);
CREATE INDEX session_login ON access.session (login);

-- Each try at a password, for the throttle per account and per address.
CREATE TABLE access.attempt (
    id bigint GENERATED ALWAYS AS IDENTITY,
    login text NOT NULL,
    address text NOT NULL,
    at_wall timestamptz NOT NULL,
    success boolean NOT NULL,
    CONSTRAINT attempt_pk PRIMARY KEY (id)
);
CREATE INDEX attempt_login ON access.attempt (login, at_wall);
CREATE INDEX attempt_address ON access.attempt (address, at_wall);

-- Keys of machines (bank, SMS centre): only the hash is kept; `channel` is whom they act for.
CREATE TABLE access.api_key (
    key_hash bytea NOT NULL,
    name text NOT NULL,
    channel text NOT NULL,
    scopes text[] NOT NULL,
    made_at timestamptz NOT NULL,
    revoked_at timestamptz,
    CONSTRAINT api_key_pk PRIMARY KEY (key_hash),
    CONSTRAINT api_key_name_unique UNIQUE (name),
    CONSTRAINT api_key_hash_is_sha256 CHECK (octet_length(key_hash) = 32)
);

-- The answer to a write, kept under the caller's key, so that a repeat gets the same answer.
CREATE TABLE access.answer (
    caller text NOT NULL,
    key text NOT NULL,
    fingerprint bytea NOT NULL,
    status integer NOT NULL,
    body text NOT NULL,
    at_wall timestamptz NOT NULL,
    CONSTRAINT answer_pk PRIMARY KEY (caller, key)
);

GRANT USAGE ON SCHEMA access TO meterloop_portal;
GRANT SELECT, INSERT, UPDATE ON access.person, access.assignment, access.session, access.api_key
    TO meterloop_portal;
GRANT SELECT, INSERT ON access.attempt, access.answer TO meterloop_portal;
