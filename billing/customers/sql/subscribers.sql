-- occupied
-- Usage points and accounts with their open agreement, customers with name and kind; no locks.
SELECT 'usage_point', g.usage_point, g.id, '' FROM customers.agreement AS g
WHERE g.usage_point = ANY (%(usage_points)s::text[]) AND g.ended_at IS NULL
UNION ALL
SELECT 'account', g.account, g.id, '' FROM customers.agreement AS g
WHERE g.account = ANY (%(accounts)s::text[]) AND g.ended_at IS NULL
UNION ALL
SELECT 'customer', c.id, c.name, c.kind FROM customers.customer AS c
WHERE c.id = ANY (%(customers)s::text[]);

-- account_owners
-- Customer and currency of the accounts named; no locks.
SELECT a.id, a.customer, a.currency FROM customers.account AS a
WHERE a.id = ANY (%(accounts)s::text[]);

-- insert_collective
-- One row, or none when it is known.
INSERT INTO customers.collective (id, customer, currency, opened_by, opened_at)
VALUES (%(id)s, %(customer)s, %(currency)s, %(actor)s, %(now)s)
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- lock_collective
-- An advisory lock for one collective until commit: who pays it and who changes it take turns.
SELECT pg_advisory_xact_lock(730511703, hashtext(%(collective)s::text));

-- end_members
-- Members that are not among the accounts leave; locks their rows.
UPDATE customers.collective_member AS m SET left_at = %(now)s
WHERE m.collective = %(collective)s AND m.left_at IS NULL
  AND m.account <> ALL (%(accounts)s::text[]);

-- insert_members
-- The accounts become members in this order; locks their rows.
INSERT INTO customers.collective_member (collective, account, place, joined_at)
SELECT %(collective)s, u.account, u.place, %(now)s::timestamptz
FROM unnest(%(accounts)s::text[]) WITH ORDINALITY AS u (account, place)
ON CONFLICT (collective, account) DO UPDATE SET place = excluded.place, left_at = NULL;

-- collectives
-- Collectives with their members in order: one, or those whose id or customer holds a text.
-- No locks.
SELECT o.id, o.customer, c.name, c.language, o.currency,
       coalesce(array_agg(m.account ORDER BY m.place, m.account)
                FILTER (WHERE m.account IS NOT NULL), '{}')
FROM customers.collective AS o
JOIN customers.customer AS c ON c.id = o.customer
LEFT JOIN customers.collective_member AS m ON m.collective = o.id AND m.left_at IS NULL
WHERE (%(collective)s::text IS NULL OR o.id = %(collective)s::text)
  AND strpos(lower(o.id || ' ' || c.id || ' ' || c.name), lower(%(text)s::text)) > 0
GROUP BY o.id, o.customer, c.name, c.language, o.currency
ORDER BY o.id LIMIT %(limit)s::int;

-- collectives_of
-- The collective each account named is in; no locks.
SELECT m.account, m.collective FROM customers.collective_member AS m
WHERE m.account = ANY (%(accounts)s::text[]) AND m.left_at IS NULL;

-- insert_discount
-- One row.
INSERT INTO customers.discount
    (agreement, attribute, value, evidence, from_day, until_day, asked_by, asked_at)
VALUES (%(agreement)s, %(attribute)s, %(value)s, %(evidence)s, %(from_day)s, %(until_day)s,
        %(actor)s, %(now)s)
RETURNING id;

-- decide_discount
-- One row, or none when it was decided before.
INSERT INTO customers.discount_decision (discount, asked_by, granted, actor, reason, at)
VALUES (%(discount)s, %(asked_by)s, %(granted)s, %(actor)s, %(reason)s, %(now)s)
ON CONFLICT ON CONSTRAINT discount_decision_pk DO NOTHING
RETURNING discount;

-- discounts
-- Discounts with their decisions, newest first; no locks.
SELECT d.id, d.agreement, d.attribute, d.value, d.evidence, d.from_day, d.until_day, d.asked_by,
       d.asked_at, e.granted, e.actor, e.reason
FROM customers.discount AS d
LEFT JOIN customers.discount_decision AS e ON e.discount = d.id
WHERE (%(discount)s::bigint IS NULL OR d.id = %(discount)s::bigint)
  AND (%(agreement)s::text IS NULL OR d.agreement = %(agreement)s::text)
  AND (NOT %(waiting)s::boolean OR e.discount IS NULL)
ORDER BY d.id DESC LIMIT 200;

-- discount_base
-- What the agreement said before any change, once: one row or none.
INSERT INTO customers.terms_change
    (agreement, from_day, tariff_code, pinned_hash, attributes, reason, state, backdated,
     proposed_by, proposed_at, applied_at)
SELECT g.id, g.started_at::date, g.tariff_code, g.pinned_hash, g.attributes, 'as registered',
       'base', false, %(actor)s, %(now)s::timestamptz, %(now)s::timestamptz
FROM customers.agreement AS g
WHERE g.id = %(agreement)s AND NOT EXISTS (
    SELECT 1 FROM customers.terms_change AS t WHERE t.agreement = g.id AND t.state = 'base');

-- discount_terms
-- Two rows: from its first day the agreement has the attribute, from its last day on as before.
INSERT INTO customers.terms_change
    (agreement, from_day, attributes, reason, state, backdated, proposed_by, proposed_at,
     decided_by, decided_at)
SELECT d.agreement, u.from_day, u.attributes, 'discount ' || d.id || ': ' || d.evidence,
       'approved', u.from_day <= %(today)s::date, d.asked_by, d.asked_at, %(actor)s,
       %(now)s::timestamptz
FROM customers.discount AS d
CROSS JOIN LATERAL (VALUES
    (d.from_day, jsonb_build_object(d.attribute, d.value)),
    (d.until_day, jsonb_build_object(d.attribute, %(before)s::text))
) AS u (from_day, attributes)
WHERE d.id = %(discount)s;
