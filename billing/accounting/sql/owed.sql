-- collected
-- Payments received in a span, as they stood at a moment, by one of five groups and currency.
SELECT CASE %(by)s::text
           WHEN 'channel' THEN m.channel
           WHEN 'office' THEN m.channel || ' ' || m.office
           WHEN 'unit' THEN coalesce(u.unit, '')
           WHEN 'kind' THEN coalesce(h.kind, '')
           ELSE ((p.at AT TIME ZONE %(zone)s::text)::date)::text END AS grp,
       m.currency, count(*) FILTER (WHERE m.what = 'paid'),
       coalesce(sum(m.micros) FILTER (WHERE m.what = 'paid'), 0),
       count(DISTINCT m.receipt_no) FILTER (WHERE m.what <> 'paid'), sum(m.micros)
FROM payments.moved AS p
JOIN payments.moved AS m ON m.receipt_no = p.receipt_no
LEFT JOIN customers.account_holder AS h ON h.account = m.account
LEFT JOIN assets.point_unit AS u
    ON u.usage_point = coalesce(nullif(m.usage_point, ''), h.usage_point)
WHERE p.what = 'paid' AND p.at >= %(start)s AND p.at < %(end)s AND p.at <= %(moment)s
  AND m.at <= %(moment)s
  AND (%(channel)s::text = '' OR p.channel = %(channel)s)
  AND (%(unit)s::text = '' OR u.unit = %(unit)s)
GROUP BY 1, 2
ORDER BY 1, 2;

-- owed
-- Arrears at a moment by one of three groups and currency; no locks.
WITH net AS (
    SELECT o.account, o.currency,
           coalesce(sum(o.micros) FILTER (WHERE o.kind <> 'ar_plan'), 0) AS owed,
           coalesce(sum(o.micros) FILTER (WHERE o.kind = 'ar_plan'), 0) AS planned
    FROM ledger.owed_at(%(moment)s) AS o
    GROUP BY o.account, o.currency
)
SELECT CASE %(by)s::text WHEN 'kind' THEN coalesce(h.kind, '')
                         WHEN 'unit' THEN coalesce(u.unit, '')
                         ELSE coalesce(u.transformer, '') END AS grp,
       n.currency, count(*) FILTER (WHERE n.owed > 0),
       count(*) FILTER (WHERE n.owed > 0 AND h.kind = 'household'),
       coalesce(sum(n.owed) FILTER (WHERE n.owed > 0), 0),
       coalesce(sum(greatest(n.owed - coalesce(d.micros, 0), 0)) FILTER (WHERE n.owed > 0), 0),
       sum(n.planned)
FROM net AS n
LEFT JOIN bills.not_due_at(%(moment)s, %(day)s) AS d USING (account, currency)
LEFT JOIN customers.account_holder AS h ON h.account = n.account
LEFT JOIN assets.point_unit AS u ON u.usage_point = h.usage_point
WHERE n.owed > 0 OR n.planned > 0
GROUP BY 1, 2
ORDER BY 1, 2;

-- owed_accounts
-- Accounts in arrears at a moment, in pages by account, of one unit or kind where it is named.
WITH net AS (
    SELECT o.account, o.currency,
           coalesce(sum(o.micros) FILTER (WHERE o.kind <> 'ar_plan'), 0) AS owed,
           coalesce(sum(o.micros) FILTER (WHERE o.kind = 'ar_energy'), 0) AS energy,
           coalesce(sum(o.micros) FILTER (WHERE o.kind = 'ar_penalty'), 0) AS penalty,
           coalesce(sum(o.micros) FILTER (WHERE o.kind NOT IN
               ('ar_energy', 'ar_penalty', 'ar_plan', 'customer_prepayment')), 0) AS other,
           coalesce(-sum(o.micros) FILTER (WHERE o.kind = 'customer_prepayment'), 0) AS prepaid,
           coalesce(sum(o.micros) FILTER (WHERE o.kind = 'ar_plan'), 0) AS planned
    FROM ledger.owed_at(%(moment)s) AS o
    GROUP BY o.account, o.currency
)
SELECT n.account, coalesce(h.name, ''), coalesce(h.kind, ''), coalesce(h.usage_point, ''),
       coalesce(u.unit, ''), coalesce(u.transformer, ''), n.currency, n.energy, n.penalty, n.other,
       n.prepaid, n.owed, greatest(n.owed - coalesce(d.micros, 0), 0), n.planned
FROM net AS n
LEFT JOIN bills.not_due_at(%(moment)s, %(day)s) AS d USING (account, currency)
LEFT JOIN customers.account_holder AS h ON h.account = n.account
LEFT JOIN assets.point_unit AS u ON u.usage_point = h.usage_point
WHERE n.owed > 0 AND (n.account, n.currency) > (%(after)s::text, %(after_currency)s::text)
  AND (%(unit)s::text = '' OR u.unit = %(unit)s)
  AND (%(kind)s::text = '' OR h.kind = %(kind)s)
ORDER BY n.account, n.currency
LIMIT %(limit)s::int;
