-- m1_entries_not_zero
-- One text per violation, no locks.
SELECT 'entry ' || p.entry_id || ' ' || p.currency AS example
FROM ledger.posting AS p
GROUP BY p.entry_id, p.currency
HAVING sum(p.side * p.amount_micros::numeric) <> 0;

-- m1_balances_unlike_postings
-- One text per violation, no locks.
SELECT a.code || ' ' || a.currency AS example
FROM ledger.account AS a
LEFT JOIN (
    SELECT p.ledger_account_id,
           coalesce(sum(p.amount_micros) FILTER (WHERE p.side = 1), 0) AS dr,
           coalesce(sum(p.amount_micros) FILTER (WHERE p.side = -1), 0) AS cr
    FROM ledger.posting AS p GROUP BY p.ledger_account_id
) AS summed ON summed.ledger_account_id = a.id
WHERE a.kept
  AND (a.posted_dr, a.posted_cr) <> (coalesce(summed.dr, 0), coalesce(summed.cr, 0));

-- m2_payments_unlike_entries
-- One text per violation, no locks: a payment whose entry is absent or of another amount.
SELECT y.receipt_no || ' ' || y.channel AS example
FROM payments.payment AS y
WHERE y.amount_micros IS DISTINCT FROM (
    SELECT sum(p.amount_micros) FROM ledger.posting AS p
    WHERE p.entry_id = y.entry_id AND p.side = -1 AND p.currency = y.currency);

-- m2_payments_twice
-- One text per violation, no locks.
SELECT y.channel || ' ' || y.peer_txn_id AS example
FROM payments.payment AS y
GROUP BY y.channel, y.peer_txn_id
HAVING count(*) > 1;

-- m3_drawn_unlike_fee
-- One text per violation, no locks: the days' drawdowns must sum to what the state has drawn, and
-- the fee so far to the price of the register it names.
SELECT s.agreement || ': drawn ' || s.drawn_micros || ', days ' || coalesce(d.sum, 0) AS example
FROM prepaid.state AS s
LEFT JOIN (
    SELECT w.agreement, sum(w.amount_micros) AS sum
    FROM prepaid.drawdown AS w GROUP BY w.agreement
) AS d ON d.agreement = s.agreement
WHERE s.drawn_micros <> coalesce(d.sum, 0);

-- m3_drawn_unlike_ledger
-- One text per violation, no locks: a day's drawdown whose entry posts another amount.
SELECT w.agreement || ' day ' || w.day AS example
FROM prepaid.drawdown AS w
WHERE w.entry_id IS NOT NULL AND abs(w.amount_micros) IS DISTINCT FROM (
    SELECT sum(p.amount_micros) FROM ledger.posting AS p
    WHERE p.entry_id = w.entry_id AND p.side = 1);

-- m5_payments_unmatched
-- One text per violation, no locks: in suspense by one book and not by the other.
SELECT y.receipt_no || ' ' || y.state AS example
FROM payments.payment AS y
WHERE (y.state = 'suspense') <> EXISTS (
    SELECT 1 FROM ledger.posting AS p JOIN ledger.account AS a ON a.id = p.ledger_account_id
    WHERE p.entry_id = y.entry_id AND a.kind = 'suspense' AND p.side = -1);

-- r4_energy_unlike_drawdowns
-- One text per violation, no locks: the days' energy and the open day must join without a hole.
SELECT chained.agreement || ' day ' || chained.day AS example
FROM (
    SELECT w.agreement, w.day, w.segment_seq, w.from_register_wh,
           lag(w.register_wh) OVER days AS previous_wh,
           lag(w.segment_seq) OVER days AS previous_segment
    FROM prepaid.drawdown AS w
    WINDOW days AS (PARTITION BY w.agreement ORDER BY w.day)
) AS chained
WHERE chained.previous_wh IS NOT NULL AND chained.previous_wh <> chained.from_register_wh
  AND chained.previous_segment = chained.segment_seq;

-- s2_cuts_without_names
-- One text per violation, no locks: a command or payment that no line of the audit log names.
SELECT c.id AS example
FROM control.command AS c
WHERE NOT EXISTS (SELECT 1 FROM audit.event AS e WHERE e.entity_id = c.id)
UNION ALL
SELECT y.receipt_no
FROM payments.payment AS y
WHERE NOT EXISTS (
    SELECT 1 FROM audit.event AS e
    WHERE e.entity_id = y.account AND e.after ->> 'receipt' = y.receipt_no
);
