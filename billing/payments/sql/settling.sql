-- statement_rows
-- Posted payments of one channel by the peer's time after a place, each with what is left of it.
SELECT p.receipt_no, p.peer_txn_id, p.account, h.state, p.amount_micros,
       (p.amount_micros + coalesce((SELECT sum(c.delta_micros) FROM payments.correction AS c
                                    WHERE c.receipt_no = p.receipt_no), 0))::bigint,
       p.currency, p.peer_time, p.received_at
FROM payments.payment AS p
JOIN payments.hold AS h ON h.channel = p.channel AND h.peer_txn_id = p.peer_txn_id
WHERE p.channel = %(channel)s AND p.peer_time >= %(start)s AND p.peer_time < %(end)s
  AND (p.peer_time, p.receipt_no) > (%(after_time)s::timestamptz, %(after_receipt)s::text)
ORDER BY p.peer_time, p.receipt_no
LIMIT %(limit)s::int;

-- statement_by_ids
-- Posted payments of one channel by the peer's ids, each with what is left of it; no locks.
SELECT p.receipt_no, p.peer_txn_id, p.account, h.state, p.amount_micros,
       (p.amount_micros + coalesce((SELECT sum(c.delta_micros) FROM payments.correction AS c
                                    WHERE c.receipt_no = p.receipt_no), 0))::bigint,
       p.currency, p.peer_time, p.received_at
FROM payments.payment AS p
JOIN payments.hold AS h ON h.channel = p.channel AND h.peer_txn_id = p.peer_txn_id
WHERE p.channel = %(channel)s AND p.peer_txn_id = ANY (%(ids)s::text[])
ORDER BY p.peer_time, p.receipt_no;

-- insert_correction
-- One row; the caller holds the payment's hold.
INSERT INTO payments.correction (receipt_no, seq, kind, delta_micros, entry_id, reason, actors, at)
SELECT %(receipt)s, coalesce(max(c.seq), 0) + 1, %(kind)s, %(delta)s, %(entry)s, %(reason)s,
       %(actors)s::text[], %(now)s
FROM payments.correction AS c WHERE c.receipt_no = %(receipt)s;

-- payment_by_receipt
-- One row or none; no locks.
SELECT p.receipt_no, p.channel, p.peer_txn_id, p.body_hash, p.state, p.account, p.usage_point,
       p.amount_micros, p.currency, p.peer_time, p.received_at, p.actor, p.entry_id,
       p.available_micros
FROM payments.payment AS p WHERE p.receipt_no = %(receipt)s;

-- suspense_waiting
-- Payments in suspense that nobody has settled, oldest first; no locks.
SELECT p.receipt_no, p.channel, p.peer_txn_id, p.account, p.amount_micros, p.currency,
       p.received_at
FROM payments.payment AS p
WHERE p.state = 'suspense'
  AND NOT EXISTS (SELECT 1 FROM payments.suspense_end AS e WHERE e.receipt_no = p.receipt_no)
ORDER BY p.received_at, p.receipt_no;

-- insert_suspense_end
-- One row, or none when the money has its end already; waits for a rival.
INSERT INTO payments.suspense_end (receipt_no, outcome, account, entry_id, reason, actors, at)
VALUES (%(receipt)s, %(outcome)s, %(account)s, %(entry)s, %(reason)s, %(actors)s::text[], %(now)s)
ON CONFLICT (receipt_no) DO NOTHING
RETURNING receipt_no;

-- suspense_end_of
-- How money in suspense ended, or none; no locks.
SELECT e.outcome, e.account, e.entry_id FROM payments.suspense_end AS e
WHERE e.receipt_no = %(receipt)s;

-- insert_reconciliation
-- One row, or none when the same file of the same span stands; waits for a rival.
INSERT INTO payments.reconciliation
    (channel, starts_at, ends_at, file_hash, matched, ours_micros, theirs_micros, made_at, actor)
VALUES (%(channel)s, %(start)s, %(end)s, %(hash)s, %(matched)s, %(ours)s, %(theirs)s, %(now)s,
        %(actor)s)
ON CONFLICT (channel, starts_at, ends_at, file_hash) DO NOTHING
RETURNING id;

-- reconciliation_by_file
-- One row or none; no locks.
SELECT r.id, r.matched, r.ours_micros, r.theirs_micros FROM payments.reconciliation AS r
WHERE r.channel = %(channel)s AND r.starts_at = %(start)s AND r.ends_at = %(end)s
  AND r.file_hash = %(hash)s;

-- reconciliation_channel
-- The channel of a reconciliation, or none; no locks.
SELECT r.channel FROM payments.reconciliation AS r WHERE r.id = %(id)s;

-- insert_differences
-- New rows of one reconciliation; no locks.
INSERT INTO payments.difference
    (reconciliation, peer_txn_id, kind, ours_micros, theirs_micros, outcome, settled_at)
SELECT %(id)s, u.txn, u.kind, u.ours, u.theirs, u.outcome,
       CASE WHEN u.outcome <> 'open' THEN %(now)s::timestamptz END
FROM unnest(%(txns)s::text[], %(kinds)s::text[], %(ours)s::bigint[], %(theirs)s::bigint[],
            %(outcomes)s::text[]) AS u (txn, kind, ours, theirs, outcome);

-- differences_of
-- The differences of one reconciliation, in order of the peer's ids; no locks.
SELECT d.peer_txn_id, d.kind, d.ours_micros, d.theirs_micros, d.outcome
FROM payments.difference AS d WHERE d.reconciliation = %(id)s ORDER BY d.peer_txn_id;

-- lock_difference
-- One row or none, its row lock.
SELECT d.peer_txn_id, d.kind, d.ours_micros, d.theirs_micros, d.outcome
FROM payments.difference AS d
WHERE d.reconciliation = %(id)s AND d.peer_txn_id = %(txn)s
FOR UPDATE;

-- settle_difference
-- One row that the caller has locked.
UPDATE payments.difference
SET outcome = %(outcome)s, reason = %(reason)s, actors = %(actors)s::text[], settled_at = %(now)s
WHERE reconciliation = %(id)s AND peer_txn_id = %(txn)s;

-- settle_found_later
-- Open rows of ours alone that a later file of the channel has, with their row locks.
UPDATE payments.difference AS d
SET outcome = 'found_later', settled_at = %(now)s
FROM payments.reconciliation AS r
WHERE r.id = d.reconciliation AND r.channel = %(channel)s AND r.id <> %(id)s
  AND d.outcome = 'open' AND d.kind = 'ours_only' AND d.peer_txn_id = ANY (%(txns)s::text[]);
