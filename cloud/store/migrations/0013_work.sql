-- Field jobs: raised by an outcome or a person, done on a phone, closed by a look at the result.
CREATE SCHEMA work;

CREATE SEQUENCE work.order_number;

CREATE TABLE work.crew (
    login text NOT NULL,
    phone text NOT NULL,
    language text NOT NULL,
    on_duty boolean NOT NULL DEFAULT true,
    changed_at timestamptz NOT NULL,
    CONSTRAINT crew_pk PRIMARY KEY (login),
    CONSTRAINT crew_login CHECK (login ~ '^user:.+')
);

CREATE TABLE work.order (
    id text NOT NULL DEFAULT 'W-' || lpad(nextval('work.order_number')::text, 6, '0'),
    kind text NOT NULL,
    usage_point text NOT NULL,
    cause_key text NOT NULL,
    summary text NOT NULL,
    state text NOT NULL,
    crew text,
    raised_at timestamptz NOT NULL,
    assigned_at timestamptz,
    done_at timestamptz,
    verified_at timestamptz,
    verified_by text,
    outcome smallint,
    register_wh bigint,
    note text NOT NULL DEFAULT '',
    CONSTRAINT order_pk PRIMARY KEY (id),
    CONSTRAINT order_cause_once UNIQUE (cause_key),
    CONSTRAINT order_kind_known
        CHECK (kind IN ('cut_failure', 'restore_failure', 'meter_silent', 'exception')),
    CONSTRAINT order_state_known CHECK (state IN ('raised', 'assigned', 'done', 'verified')),
    CONSTRAINT order_outcome_known CHECK (outcome BETWEEN 1 AND 12),
    CONSTRAINT order_done_reported CHECK (state IN ('raised', 'assigned') OR outcome IS NOT NULL),
    CONSTRAINT order_verifier_differs CHECK (verified_by IS DISTINCT FROM crew OR crew IS NULL)
);
COMMENT ON COLUMN work.order.outcome IS
    'D20 codes 1-11 of a visit about a debt; 12 = supply restored on site (E6)';
CREATE INDEX order_by_state ON work.order (state, raised_at);
CREATE INDEX order_of ON work.order (usage_point, raised_at);

-- Every report as it came; the same key again is the same report (crew phones repeat).
CREATE TABLE work.report (
    order_id text NOT NULL,
    idempotency_key text NOT NULL,
    outcome smallint NOT NULL,
    register_wh bigint,
    note text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT report_pk PRIMARY KEY (order_id, idempotency_key),
    CONSTRAINT report_order FOREIGN KEY (order_id) REFERENCES work.order (id)
);
CREATE TRIGGER report_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON work.report
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- How far this context has read control's outcomes; moves in the transaction that raises orders.
CREATE TABLE work.cursor (
    name text NOT NULL,
    seq bigint NOT NULL,
    CONSTRAINT cursor_pk PRIMARY KEY (name)
);
INSERT INTO work.cursor (name, seq) VALUES ('outcomes', 0);

GRANT USAGE ON SCHEMA work TO
    meterloop_control, meterloop_billing, meterloop_portal, meterloop_ingest;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA work TO
    meterloop_control, meterloop_billing, meterloop_portal;
GRANT SELECT ON ALL TABLES IN SCHEMA work TO
    meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE ON work.order, work.crew TO
    meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT ON work.report TO meterloop_control, meterloop_portal;
GRANT UPDATE ON work.cursor TO meterloop_control;
