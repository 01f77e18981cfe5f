-- cards_on_tariff
-- At most `limit` agreements of a tariff code that held in a whole span, after a usage point.
-- No locks.
SELECT c.id, c.name, c.kind, c.language, c.phone, a.id AS account, a.currency, g.id AS agreement,
       g.usage_point, g.tariff_code, g.pinned_hash, g.started_at, g.ended_at,
       g.opening_register_wh, g.opening_year_wh, g.attributes
FROM customers.agreement AS g
JOIN customers.account AS a ON a.id = g.account
JOIN customers.customer AS c ON c.id = a.customer
WHERE g.tariff_code = %(code)s AND g.usage_point > %(after)s
  AND g.started_at <= %(start)s AND (g.ended_at IS NULL OR g.ended_at >= %(end)s)
ORDER BY g.usage_point
LIMIT %(limit)s::int;
