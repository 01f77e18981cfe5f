-- day_ties
-- What documents and ledger say of each local day in a span, by kind and currency; no locks.
WITH said AS (
    SELECT 'bills' AS kind, (b.at AT TIME ZONE %(zone)s::text)::date AS day, b.currency,
           1 AS documents, b.micros::numeric AS ours, 0::numeric AS booked
    FROM bills.moved AS b WHERE b.at >= %(start)s AND b.at < %(end)s
    UNION ALL
    SELECT 'bills', (l.booked_at AT TIME ZONE %(zone)s)::date, l.currency, 0, 0, l.signed_micros
    FROM ledger.booked_leg AS l
    WHERE l.kind = 'bill' AND l.kept AND l.booked_at >= %(start)s AND l.booked_at < %(end)s
    UNION ALL
    SELECT 'receipts', (p.at AT TIME ZONE %(zone)s)::date, p.currency, 1, p.micros, 0
    FROM payments.moved AS p WHERE p.at >= %(start)s AND p.at < %(end)s
    UNION ALL
    SELECT 'receipts', (l.booked_at AT TIME ZONE %(zone)s)::date, l.currency, 0, 0, l.signed_micros
    FROM ledger.booked_leg AS l
    WHERE l.account_kind IN ('bank_clearing', 'agent_float')
      AND l.kind = ANY (%(receipts)s::text[])
      AND l.booked_at >= %(start)s AND l.booked_at < %(end)s
    UNION ALL
    SELECT 'drawdowns', d.day, s.currency, 1, d.amount_micros, 0
    FROM prepaid.drawn_day AS d
    JOIN customers.agreement_currency AS s ON s.agreement = d.agreement
    WHERE d.day >= %(first)s AND d.day <= %(last)s
    UNION ALL
    SELECT 'drawdowns', l.value_date, l.currency, 0, 0, l.signed_micros
    FROM ledger.booked_leg AS l
    WHERE l.kind = 'drawdown' AND l.kept AND l.value_date >= %(first)s AND l.value_date <= %(last)s
)
SELECT s.day, s.kind, s.currency, sum(s.documents)::bigint, sum(s.ours), sum(s.booked)
FROM said AS s
GROUP BY s.day, s.kind, s.currency
ORDER BY s.day DESC, s.kind, s.currency;

-- untied
-- Documents whose entry says something else, and entries of their kinds without one; no locks.
WITH booked AS (
    SELECT l.entry_id, min(l.kind) AS kind, min(l.source_ref) AS source_ref,
           coalesce(sum(l.signed_micros) FILTER (WHERE l.kept
               AND l.account_kind <> 'agent_float'), 0) AS kept,
           coalesce(sum(l.signed_micros) FILTER (
               WHERE l.account_kind IN ('bank_clearing', 'agent_float')), 0) AS money
    FROM ledger.booked_leg AS l
    WHERE l.booked_at >= %(start)s AND l.booked_at < %(end)s
      AND (l.kind = 'bill' OR l.kind = ANY (%(receipts)s::text[]))
    GROUP BY l.entry_id
), ours AS (
    SELECT 'bills' AS kind, 'bill ' || b.bill AS subject, b.account, b.micros, b.entry_id
    FROM bills.moved AS b
    WHERE b.at >= %(start)s AND b.at < %(end)s AND b.micros <> 0
    UNION ALL
    SELECT 'receipts', p.receipt_no, p.account, p.micros, p.entry_id
    FROM payments.moved AS p WHERE p.at >= %(start)s AND p.at < %(end)s
)
SELECT coalesce(o.kind, CASE WHEN b.kind = 'bill' THEN 'bills' ELSE 'receipts' END),
       coalesce(o.subject, 'entry ' || b.entry_id), coalesce(o.account, ''),
       coalesce(o.micros, 0)::numeric,
       coalesce(CASE WHEN b.kind = 'bill' THEN b.kept ELSE b.money END, 0)
FROM ours AS o FULL JOIN booked AS b ON b.entry_id = o.entry_id
WHERE coalesce(o.micros, 0) <> coalesce(CASE WHEN b.kind = 'bill' THEN b.kept ELSE b.money END, 0)
ORDER BY 1, 2
LIMIT %(limit)s::int;
