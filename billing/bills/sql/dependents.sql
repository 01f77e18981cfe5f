-- bills_on_days
-- Standing bills whose metered time holds a (usage point, day) asked about; no locks.
SELECT k.n, b.id, b.account, b.currency, b.usage, b.versions, b.energy_wh, b.total_micros
FROM unnest(%(usage_points)s::text[], %(days)s::date[]) WITH ORDINALITY
     AS k (usage_point, day, n)
JOIN bills.bill AS b ON b.usage_point = k.usage_point AND b.period_start <= k.day
    AND b.period_end > k.day
WHERE b.usage <> '' AND NOT EXISTS (SELECT 1 FROM bills.cancellation AS c WHERE c.bill = b.id)
ORDER BY k.n, b.id;

-- items_on_days
-- Charges of runs, not billed yet, whose time holds a (usage point, day) asked about; no locks.
SELECT k.n, i.run, i.agreement, i.account, i.currency, i.usage, i.versions, i.energy_wh,
       i.total_micros, i.state
FROM unnest(%(usage_points)s::text[], %(days)s::date[]) WITH ORDINALITY
     AS k (usage_point, day, n)
JOIN bills.item AS i ON i.usage_point = k.usage_point AND i.period_start <= k.day
    AND i.period_end > k.day
WHERE i.bill IS NULL AND i.usage <> ''
ORDER BY k.n, i.run, i.agreement;
