-- Which days were checked and what came of it; which days have to be looked at again.

-- Up to here whole days have been handed to validation; a reading before it comes late. Whoever
-- adds readings shares advisory lock 730513 while it reads this row; who moves it holds it alone.
CREATE TABLE vee.frontier (
    one boolean NOT NULL DEFAULT true,
    until timestamptz NOT NULL,
    CONSTRAINT frontier_pk PRIMARY KEY (one),
    CONSTRAINT frontier_single CHECK (one)
);
INSERT INTO vee.frontier (until) VALUES ('1970-01-01Z');

-- A civil day of a zone that is looked at whole; `after` is the last usage point that was. A usage
-- point without a row in vee.day lacked nothing and nothing was found.
CREATE TABLE vee.round (
    zone text NOT NULL,
    day date NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    begun_at timestamptz NOT NULL,
    rule_set text NOT NULL,
    after text NOT NULL DEFAULT '',
    points bigint NOT NULL DEFAULT 0,
    ended_at timestamptz,
    CONSTRAINT round_pk PRIMARY KEY (zone, day),
    CONSTRAINT round_forward CHECK (until > since)
);
CREATE INDEX round_open ON vee.round (day) WHERE ended_at IS NULL;
CREATE INDEX round_until ON vee.round (zone, until);

-- Days to be looked at again: late readings, edits. `marks` rises with each, so that what comes
-- while a day is being looked at is not lost.
CREATE TABLE vee.dirty (
    usage_point text NOT NULL,
    day date NOT NULL,
    cause text NOT NULL,
    reference text NOT NULL DEFAULT '',
    actor text NOT NULL DEFAULT 'system:ingest',
    marks bigint NOT NULL DEFAULT 1,
    marked_at timestamptz NOT NULL,
    CONSTRAINT dirty_pk PRIMARY KEY (usage_point, day),
    CONSTRAINT dirty_cause_known CHECK (cause IN ('late', 'edit', 'again'))
);

-- What was found about one day that lacked something or in which something was found, and again
-- when that changed. `reads_from` .. `reads_to` are the days on which the estimates rest: a change
-- of one of them makes this day be looked at again.
CREATE TABLE vee.day (
    usage_point text NOT NULL,
    day date NOT NULL,
    seconds integer NOT NULL,
    version integer NOT NULL,
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    checked_at timestamptz NOT NULL,
    rule_set text NOT NULL,
    rule_hash text NOT NULL,
    expected integer NOT NULL,
    present integer NOT NULL,
    edited integer NOT NULL,
    suspect integer NOT NULL,
    estimated integer NOT NULL,
    missing integer NOT NULL,
    findings jsonb NOT NULL,
    refused jsonb NOT NULL,
    reads_from date NOT NULL,
    reads_to date NOT NULL,
    CONSTRAINT day_pk PRIMARY KEY (usage_point, day, seconds, version),
    CONSTRAINT day_sum CHECK (expected = present + estimated + missing),
    CONSTRAINT day_reads CHECK (reads_from <= day AND reads_to >= day)
);
CREATE TRIGGER day_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vee.day
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT SELECT ON vee.frontier, vee.round, vee.dirty, vee.day TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT UPDATE ON vee.frontier TO meterloop_ingest;
GRANT INSERT, UPDATE ON vee.round TO meterloop_ingest;
GRANT INSERT, UPDATE, DELETE ON vee.dirty TO meterloop_ingest;
GRANT INSERT, UPDATE ON vee.dirty TO meterloop_portal;
GRANT INSERT ON vee.day TO meterloop_ingest;
