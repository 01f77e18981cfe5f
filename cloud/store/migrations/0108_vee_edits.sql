-- Values that a person proposes and a second one verifies. Only what is verified is ever used.

-- `wh` of a slot is NULL where the value is to be cancelled. `seconds` 0: registers, whose starts
-- are the instants at which they were read.
CREATE TABLE vee.edit (
    id bigint GENERATED ALWAYS AS IDENTITY,
    usage_point text NOT NULL,
    seconds integer NOT NULL,
    start_ms bigint[] NOT NULL,
    wh bigint[] NOT NULL,
    reason text NOT NULL,
    proposed_by text NOT NULL,
    proposed_at timestamptz NOT NULL,
    state text NOT NULL DEFAULT 'proposed',
    decided_by text,
    decided_at timestamptz,
    decision text NOT NULL DEFAULT '',
    CONSTRAINT edit_pk PRIMARY KEY (id),
    CONSTRAINT edit_state_known CHECK (state IN ('proposed', 'verified', 'refused')),
    CONSTRAINT edit_columns_equal CHECK (
        cardinality(start_ms) = cardinality(wh) AND cardinality(wh) > 0),
    CONSTRAINT edit_not_negative CHECK (0 <= ALL (wh)),
    CONSTRAINT edit_reasoned CHECK (reason <> ''),
    CONSTRAINT edit_decided_whole CHECK (
        (state = 'proposed') = (decided_by IS NULL)
        AND (state = 'proposed') = (decided_at IS NULL)),
    CONSTRAINT edit_two_people CHECK (state <> 'verified' OR decided_by <> proposed_by)
);
CREATE INDEX edit_waiting ON vee.edit (proposed_at) WHERE state = 'proposed';
CREATE INDEX edit_of_point ON vee.edit (usage_point);

GRANT SELECT ON vee.edit TO
    meterloop_ingest, meterloop_control, meterloop_billing, meterloop_portal;
GRANT INSERT, UPDATE ON vee.edit TO meterloop_portal;
