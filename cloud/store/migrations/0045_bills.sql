-- Bills: a run freezes what it prices, holds what is doubtful, posts what is agreed. An item may
-- change until it is billed; a bill never changes: it is cancelled by another row.
CREATE SCHEMA bills;

CREATE TABLE bills.book_account (
    account text NOT NULL,
    book text NOT NULL,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT book_account_pk PRIMARY KEY (account),
    CONSTRAINT book_account_named CHECK (book <> '')
);
COMMENT ON TABLE bills.book_account IS 'an account that stands in no row is in the book main';

CREATE TABLE bills.run (
    id bigint GENERATED ALWAYS AS IDENTITY,
    book text NOT NULL,
    kind text NOT NULL,
    period_start date NOT NULL,
    period_end date NOT NULL,
    seq integer NOT NULL,
    zone text NOT NULL,
    stage text NOT NULL DEFAULT 'opened',
    gate jsonb NOT NULL,
    opened_by text NOT NULL,
    opened_at timestamptz NOT NULL,
    stage_at timestamptz NOT NULL,
    closed_by text,
    sheet_hash bytea,
    CONSTRAINT run_pk PRIMARY KEY (id),
    CONSTRAINT run_once UNIQUE (book, kind, period_start, period_end, seq),
    CONSTRAINT run_kind_known CHECK (kind IN ('cycle')),
    CONSTRAINT run_period_not_empty CHECK (period_start < period_end),
    CONSTRAINT run_stage_known CHECK (stage IN (
        'opened', 'frozen', 'validated', 'priced', 'approved', 'posted', 'documented',
        'totalled', 'closed'))
);

CREATE TABLE bills.item (
    run bigint NOT NULL REFERENCES bills.run (id),
    agreement text NOT NULL,
    account text NOT NULL,
    usage_point text NOT NULL,
    currency text NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    reasons text[] NOT NULL DEFAULT '{}',
    detail text NOT NULL DEFAULT '',
    period_start date NOT NULL,
    period_end date NOT NULL,
    usage text NOT NULL DEFAULT '',
    versions text[] NOT NULL DEFAULT '{}',
    input_hash bytea,
    quality text NOT NULL DEFAULT '',
    method text NOT NULL DEFAULT '',
    start_wh bigint,
    end_wh bigint,
    energy_wh bigint NOT NULL DEFAULT 0,
    credits bigint[] NOT NULL DEFAULT '{}',
    drawn_micros bigint,
    lines text NOT NULL DEFAULT '[]',
    total_micros bigint,
    closing_micros bigint,
    accepted_by text,
    bill bigint,
    CONSTRAINT item_pk PRIMARY KEY (run, agreement),
    CONSTRAINT item_state_known CHECK (
        state IN ('frozen', 'held', 'ready', 'approval', 'priced', 'billed', 'parked')),
    CONSTRAINT item_billed_has_a_bill CHECK ((state = 'billed') = (bill IS NOT NULL))
);
CREATE INDEX item_state ON bills.item (run, state, agreement);

-- Who agreed to an amount; of this very input, so that a changed one is agreed to anew.
CREATE TABLE bills.approval (
    run bigint NOT NULL,
    agreement text NOT NULL,
    input_hash bytea NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT approval_pk PRIMARY KEY (run, agreement, input_hash, actor),
    CONSTRAINT approval_of_item FOREIGN KEY (run, agreement) REFERENCES bills.item (run, agreement)
);

CREATE TABLE bills.bill (
    id bigint GENERATED ALWAYS AS IDENTITY,
    run bigint REFERENCES bills.run (id),
    agreement text NOT NULL,
    account text NOT NULL,
    usage_point text NOT NULL,
    currency text NOT NULL,
    period_start date NOT NULL,
    period_end date NOT NULL,
    kind text NOT NULL,
    seq integer NOT NULL,
    usage text NOT NULL,
    versions text[] NOT NULL,
    input_hash bytea NOT NULL,
    kernel_version integer NOT NULL,
    quality text NOT NULL,
    method text NOT NULL,
    start_wh bigint,
    end_wh bigint,
    energy_wh bigint NOT NULL,
    lines text NOT NULL,
    total_micros bigint NOT NULL,
    posted_micros bigint NOT NULL,
    entry_id bigint,
    corrects bigint REFERENCES bills.bill (id),
    reason text NOT NULL DEFAULT '',
    issued_at timestamptz NOT NULL,
    due_on date NOT NULL,
    actor text NOT NULL,
    CONSTRAINT bill_pk PRIMARY KEY (id),
    CONSTRAINT bill_once UNIQUE (account, period_start, period_end, kind, seq),
    CONSTRAINT bill_corrected_once UNIQUE (corrects),
    CONSTRAINT bill_posted_has_an_entry CHECK ((posted_micros = 0) = (entry_id IS NULL)),
    CONSTRAINT bill_kind_known CHECK (kind IN (
        'cycle', 'trueup', 'adhoc', 'adhoc_special', 'corrective_meter', 'corrective_reading',
        'rerun', 'refund', 'supplement')),
    CONSTRAINT bill_period_not_empty CHECK (period_start < period_end)
);
CREATE INDEX bill_agreement ON bills.bill (agreement, period_start);
CREATE INDEX bill_run ON bills.bill (run);
CREATE TRIGGER bill_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON bills.bill
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

CREATE TABLE bills.cancellation (
    bill bigint NOT NULL REFERENCES bills.bill (id),
    kind text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    approver text NOT NULL DEFAULT '',
    entry_id bigint,
    at timestamptz NOT NULL,
    CONSTRAINT cancellation_pk PRIMARY KEY (bill),
    CONSTRAINT cancellation_kind_known CHECK (
        kind IN ('ordinary', 'special', 'trueup', 'corrective')),
    CONSTRAINT cancellation_by_two CHECK (kind <> 'special' OR approver NOT IN ('', actor))
);
CREATE TRIGGER cancellation_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON bills.cancellation
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- What a bill says, word by word, by its hash; a duplicate must give the same.
CREATE TABLE bills.document (
    bill bigint NOT NULL REFERENCES bills.bill (id),
    language text NOT NULL,
    content text NOT NULL,
    sha256 bytea NOT NULL,
    made_at timestamptz NOT NULL,
    CONSTRAINT document_pk PRIMARY KEY (bill),
    CONSTRAINT document_language_known CHECK (language IN ('fa', 'zh', 'uz', 'ru', 'en')),
    CONSTRAINT document_hash_is_sha256 CHECK (octet_length(sha256) = 32)
);
CREATE TRIGGER document_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON bills.document
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

-- Bills that stand: what customers owe by, and what later bills build on.
CREATE VIEW bills.standing AS
SELECT b.* FROM bills.bill AS b
WHERE NOT EXISTS (SELECT 1 FROM bills.cancellation AS c WHERE c.bill = b.id);

-- What other contexts may read of the ledger and of prepayment, one row each:
-- a leg of an entry,
CREATE VIEW ledger.posted_leg AS
SELECT p.entry_id, a.code, a.kind, a.kept, a.currency, p.side, p.amount_micros
FROM ledger.posting AS p JOIN ledger.account AS a ON a.id = p.ledger_account_id;
-- a day drawn,
CREATE VIEW prepaid.drawn_day AS
SELECT d.agreement, d.day, d.from_register_wh, d.register_wh, d.amount_micros
FROM prepaid.drawdown AS d;
-- and the day up to which an agreement has been drawn.
CREATE VIEW prepaid.drawn_until AS
SELECT s.agreement, s.open_day FROM prepaid.state AS s;

GRANT USAGE ON SCHEMA bills TO meterloop_billing, meterloop_portal;
GRANT SELECT ON ALL TABLES IN SCHEMA bills TO meterloop_billing, meterloop_portal;
GRANT INSERT ON ALL TABLES IN SCHEMA bills TO meterloop_billing;
GRANT UPDATE ON bills.book_account, bills.run, bills.item TO meterloop_billing;
GRANT SELECT ON ledger.posted_leg, prepaid.drawn_day, prepaid.drawn_until
    TO meterloop_billing, meterloop_portal;
