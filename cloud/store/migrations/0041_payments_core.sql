-- Quotes, holds, corrections, allocations, the end of suspense, reconciliation, nonces.
CREATE TABLE payments.channel (
    channel text NOT NULL,
    zone text NOT NULL,
    cutover time NOT NULL,
    hold_seconds integer NOT NULL,
    quote_seconds integer NOT NULL,
    policy text NOT NULL,
    min_micros bigint NOT NULL,
    max_micros bigint NOT NULL,
    by_agent boolean NOT NULL,
    CONSTRAINT channel_pk PRIMARY KEY (channel),
    CONSTRAINT channel_policy_known CHECK (policy IN ('any', 'exact', 'exact_up', 'exact_down')),
    CONSTRAINT channel_limits_in_order CHECK (0 < min_micros AND min_micros <= max_micros),
    CONSTRAINT channel_waits CHECK (hold_seconds > 0 AND quote_seconds > 0)
);

CREATE TABLE payments.quote (
    id bigint GENERATED ALWAYS AS IDENTITY,
    channel text NOT NULL,
    account text NOT NULL,
    currency text NOT NULL,
    due_micros bigint NOT NULL,
    made_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT quote_pk PRIMARY KEY (id)
);

-- Every payment a channel announced, from its hold to its end; the row all its steps lock first.
CREATE TABLE payments.hold (
    id bigint GENERATED ALWAYS AS IDENTITY,
    channel text NOT NULL,
    peer_txn_id text NOT NULL,
    body_hash bytea NOT NULL,
    state text NOT NULL,
    account text NOT NULL,
    amount_micros bigint NOT NULL,
    currency text NOT NULL,
    quote_id bigint REFERENCES payments.quote (id),
    peer_time timestamptz NOT NULL,
    held_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    posted_at timestamptz,
    ended_at timestamptz,
    reason text NOT NULL DEFAULT '',
    actor text NOT NULL,
    CONSTRAINT hold_pk PRIMARY KEY (id),
    CONSTRAINT hold_once UNIQUE (channel, peer_txn_id),
    CONSTRAINT hold_amount_positive CHECK (amount_micros > 0),
    CONSTRAINT hold_state_known CHECK (
        state IN ('held', 'posted', 'suspense', 'released', 'expired', 'reversed')
    ),
    CONSTRAINT hold_posted_has_instant CHECK (
        (state IN ('posted', 'suspense', 'reversed')) = (posted_at IS NOT NULL)
    ),
    CONSTRAINT hold_ended_has_instant CHECK (
        (state IN ('released', 'expired', 'reversed')) = (ended_at IS NOT NULL)
    )
);
CREATE INDEX hold_channel_time ON payments.hold (channel, peer_time, id);
CREATE INDEX hold_waiting ON payments.hold (expires_at) WHERE state = 'held';

INSERT INTO payments.hold
    (channel, peer_txn_id, body_hash, state, account, amount_micros, currency, peer_time, held_at,
     expires_at, posted_at, actor)
SELECT p.channel, p.peer_txn_id, p.body_hash, p.state, p.account, p.amount_micros, p.currency,
       p.peer_time, p.received_at, p.received_at, p.received_at, p.actor
FROM payments.payment AS p ORDER BY p.entry_id;

-- What changed a payment after it was posted: it was voided, or corrected by two people.
CREATE TABLE payments.correction (
    receipt_no text NOT NULL REFERENCES payments.payment (receipt_no),
    seq integer NOT NULL,
    kind text NOT NULL,
    delta_micros bigint NOT NULL,
    entry_id bigint NOT NULL,
    reason text NOT NULL,
    actors text[] NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT correction_pk PRIMARY KEY (receipt_no, seq),
    CONSTRAINT correction_entry_unique UNIQUE (entry_id),
    CONSTRAINT correction_moves CHECK (delta_micros <> 0),
    CONSTRAINT correction_kind_known CHECK (kind IN ('void', 'amount', 'returned'))
);

-- What of a payment went to which receivable, by which rule.
CREATE TABLE payments.allocation (
    receipt_no text NOT NULL REFERENCES payments.payment (receipt_no),
    seq smallint NOT NULL,
    target text NOT NULL,
    amount_micros bigint NOT NULL,
    rule text NOT NULL,
    entry_id bigint NOT NULL,
    CONSTRAINT allocation_pk PRIMARY KEY (receipt_no, seq),
    CONSTRAINT allocation_amount_positive CHECK (amount_micros > 0)
);

CREATE TABLE payments.suspense_end (
    receipt_no text NOT NULL REFERENCES payments.payment (receipt_no),
    outcome text NOT NULL,
    account text NOT NULL DEFAULT '',
    entry_id bigint NOT NULL,
    reason text NOT NULL,
    actors text[] NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT suspense_end_pk PRIMARY KEY (receipt_no),
    CONSTRAINT suspense_end_entry_unique UNIQUE (entry_id),
    CONSTRAINT suspense_end_known CHECK ((outcome = 'assigned') = (account <> '')),
    CONSTRAINT suspense_end_two_people CHECK (actors[1] <> actors[2])
);

CREATE TABLE payments.reconciliation (
    id bigint GENERATED ALWAYS AS IDENTITY,
    channel text NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    file_hash bytea NOT NULL,
    matched integer NOT NULL,
    ours_micros numeric NOT NULL,
    theirs_micros numeric NOT NULL,
    made_at timestamptz NOT NULL,
    actor text NOT NULL,
    CONSTRAINT reconciliation_pk PRIMARY KEY (id),
    CONSTRAINT reconciliation_once UNIQUE (channel, starts_at, ends_at, file_hash)
);

CREATE TABLE payments.difference (
    reconciliation bigint NOT NULL REFERENCES payments.reconciliation (id),
    peer_txn_id text NOT NULL,
    kind text NOT NULL,
    ours_micros bigint,
    theirs_micros bigint,
    outcome text NOT NULL,
    reason text NOT NULL DEFAULT '',
    actors text[] NOT NULL DEFAULT '{}',
    settled_at timestamptz,
    CONSTRAINT difference_pk PRIMARY KEY (reconciliation, peer_txn_id),
    CONSTRAINT difference_kind_known CHECK (
        kind IN ('ours_only', 'theirs_only', 'amount_differs', 'date_differs')
    ),
    CONSTRAINT difference_outcome_known CHECK (
        outcome IN ('open', 'booked', 'noted', 'found_later', 'corrected', 'kept')
    ),
    CONSTRAINT difference_open_or_settled CHECK ((outcome = 'open') = (settled_at IS NULL))
);
CREATE INDEX difference_open ON payments.difference (peer_txn_id) WHERE outcome = 'open';

-- Signed requests that were seen within the replay window; wall time.
CREATE TABLE payments.nonce (
    key_id text NOT NULL,
    nonce text NOT NULL,
    at_wall timestamptz NOT NULL,
    CONSTRAINT nonce_pk PRIMARY KEY (key_id, nonce)
);
CREATE INDEX nonce_age ON payments.nonce (at_wall);

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY[
        'quote', 'correction', 'allocation', 'suspense_end', 'reconciliation'
    ] LOOP
        EXECUTE format(
            'CREATE TRIGGER %1$s_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments.%1$I'
            ' FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', kept);
    END LOOP;
END
$$;

GRANT SELECT, INSERT ON payments.channel, payments.quote, payments.hold, payments.correction,
    payments.allocation, payments.suspense_end, payments.reconciliation, payments.difference,
    payments.nonce TO meterloop_billing, meterloop_portal;
GRANT UPDATE ON payments.channel TO meterloop_billing, meterloop_portal;
GRANT UPDATE (state, posted_at, ended_at, reason) ON payments.hold
    TO meterloop_billing, meterloop_portal;
GRANT UPDATE (outcome, reason, actors, settled_at) ON payments.difference
    TO meterloop_billing, meterloop_portal;
GRANT DELETE ON payments.nonce TO meterloop_billing, meterloop_portal;

-- What an account owes, under the locks that booking takes: two payments never pay one debt.
-- Definer's rights: to lock a row is to ask for the right to update it, which no process has.
CREATE FUNCTION ledger.lock_receivables(account text, codes text[])
RETURNS TABLE (kind text, owed bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = ledger, pg_temp AS $$
BEGIN
    PERFORM 1 FROM ledger.account AS a
    WHERE a.kept AND (a.code = lock_receivables.account OR a.code = ANY (codes))
    ORDER BY a.id FOR NO KEY UPDATE;
    RETURN QUERY
    SELECT a.kind, (a.posted_dr - a.posted_cr)::bigint
    FROM ledger.account AS a WHERE a.kept AND a.code = ANY (codes);
END
$$;
