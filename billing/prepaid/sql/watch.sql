-- watch_candidates
-- Agreements below zero, or whose switch is not closed, with what control sees; no locks.
SELECT s.agreement, s.account, s.usage_point, s.currency, s.available_micros, s.quality,
       coalesce(c.relay_state, 'unknown'), c.state_at, coalesce(c.protected, false),
       coalesce(a.attributes ->> 'vulnerable', '')
FROM prepaid.state AS s
JOIN customers.open_agreement AS a ON a.agreement = s.agreement
LEFT JOIN control.supply_seen AS c ON c.usage_point = s.usage_point
WHERE s.below_zero OR s.available_micros < 0 OR c.relay_state IN ('disconnected', 'armed')
ORDER BY s.agreement;

-- watch_open
-- Who is watched now, those first that come first; no locks.
SELECT w.id, w.agreement, w.account, w.usage_point, p.name, w.reason, w.since, w.vulnerable,
       w.available_micros, w.currency, w.found_at, w.seen_by, w.seen_at, w.note
FROM prepaid.watch AS w
JOIN customers.payer AS p ON p.account = w.account
WHERE w.closed_at IS NULL
ORDER BY (w.vulnerable = ''), (w.seen_at IS NOT NULL), w.since, w.agreement;

-- open_watch
-- One row, or none when the agreement is watched already.
INSERT INTO prepaid.watch
    (agreement, account, usage_point, reason, since, vulnerable, available_micros, currency,
     found_at)
VALUES (%(agreement)s, %(account)s, %(usage_point)s, %(reason)s, %(since)s, %(vulnerable)s,
        %(available)s, %(currency)s, %(now)s)
ON CONFLICT (agreement) WHERE closed_at IS NULL DO NOTHING
RETURNING id;

-- close_watches
-- The open ones of the agreements named. Locks their rows.
UPDATE prepaid.watch AS w SET closed_at = %(now)s
WHERE w.closed_at IS NULL AND w.agreement = ANY (%(agreements)s::text[]);

-- see_watch
-- One open row: somebody looked, and said what was found. Locks the row.
UPDATE prepaid.watch AS w SET seen_by = %(actor)s, seen_at = %(now)s, note = %(note)s
WHERE w.id = %(id)s AND w.closed_at IS NULL
RETURNING w.usage_point;

-- standing_by_area
-- Agreements and what they have, by area, class, currency, side and quality; no locks.
SELECT coalesce(c.transformer, ''), p.kind, s.currency,
       CASE WHEN s.below_cut AND s.below_zero THEN 'cut' WHEN s.below_zero THEN 'zero'
            WHEN s.below_reminder THEN 'reminder' ELSE 'good' END AS side,
       s.quality, count(*), sum(s.available_micros)
FROM prepaid.state AS s
JOIN customers.payer AS p ON p.account = s.account
LEFT JOIN control.supply_seen AS c ON c.usage_point = s.usage_point
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5;

-- switches_by_area
-- Where the switches of agreements stand, by area; no locks.
SELECT coalesce(c.transformer, ''), coalesce(c.relay_state, 'unknown'), count(*)
FROM prepaid.state AS s
LEFT JOIN control.supply_seen AS c ON c.usage_point = s.usage_point
GROUP BY 1, 2
ORDER BY 1, 2;

-- crossings_by_area
-- Lines passed in a span, by area and kind; no locks.
SELECT coalesce(c.transformer, ''), x.kind, count(*)
FROM prepaid.crossing AS x
LEFT JOIN control.supply_seen AS c ON c.usage_point = x.usage_point
WHERE x.at >= %(start)s AND x.at < %(end)s
GROUP BY 1, 2
ORDER BY 1, 2;

-- exceptions_by_area
-- Calculation exceptions that stand, by area and kind; no locks.
SELECT coalesce(c.transformer, ''), x.kind, count(*)
FROM prepaid.exception AS x
LEFT JOIN prepaid.state AS s ON s.agreement = x.agreement
LEFT JOIN control.supply_seen AS c ON c.usage_point = s.usage_point
WHERE x.closed_at IS NULL
GROUP BY 1, 2
ORDER BY 1, 2;

-- credit_owed
-- What all customers owe of loans and of old debt, by kind and currency; no locks.
SELECT o.kind, o.currency, count(*), sum(o.owed_micros)
FROM ledger.credit_owed AS o
GROUP BY 1, 2
ORDER BY 1, 2;

-- daily_fees
-- The average day's fee of the agreements named over the days drawn since a day; no locks.
SELECT d.agreement, (sum(d.amount_micros) / count(*))::bigint
FROM prepaid.drawdown AS d
WHERE d.agreement = ANY (%(agreements)s::text[]) AND d.day >= %(first)s
GROUP BY d.agreement;
