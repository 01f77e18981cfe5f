-- terms_of_agreements
-- What the agreements named say of each day: rows of their changes, or what they are; no locks.
SELECT g.id, t.from_day, t.tariff_code, t.pinned_hash, t.attributes, g.tariff_code AS present_code,
       g.pinned_hash AS present_hash, g.attributes AS present_attributes
FROM customers.agreement AS g
LEFT JOIN customers.terms_change AS t
    ON t.agreement = g.id AND t.state IN ('base', 'approved')
WHERE g.id = ANY (%(agreements)s::text[])
ORDER BY g.id, (t.state = 'base') DESC, t.from_day, t.id;

-- currencies_with_terms
-- Currencies whose default lines are set; no locks.
SELECT t.target FROM customers.threshold AS t WHERE t.level = 'default';

-- insert_terms_base
-- What the agreement said before any change, once: one row or none.
INSERT INTO customers.terms_change
    (agreement, from_day, tariff_code, pinned_hash, attributes, reason, state, backdated,
     proposed_by, proposed_at, applied_at)
SELECT g.id, g.started_at::date, g.tariff_code, g.pinned_hash, g.attributes, 'as registered',
       'base', false, %(actor)s, %(now)s::timestamptz, %(now)s::timestamptz
FROM customers.agreement AS g
WHERE g.id = %(agreement)s AND NOT EXISTS (
    SELECT 1 FROM customers.terms_change AS t WHERE t.agreement = g.id AND t.state = 'base');

-- insert_terms_change
-- One change, proposed.
INSERT INTO customers.terms_change
    (agreement, from_day, tariff_code, attributes, reason, state, backdated, proposed_by,
     proposed_at)
VALUES (%(agreement)s, %(from_day)s, %(tariff_code)s, %(attributes)s::jsonb, %(reason)s,
        'proposed', %(backdated)s, %(actor)s, %(now)s)
RETURNING id;

-- decide_terms_change
-- One change that waits, agreed or refused; none when it does not wait. Locks the row.
UPDATE customers.terms_change AS t
SET state = %(state)s, decided_by = %(actor)s, decided_at = %(now)s
WHERE t.id = %(id)s AND t.state = 'proposed'
RETURNING t.id;

-- terms_changes
-- Changes of one agreement, or those that wait for a decision, newest first; no locks.
SELECT t.id, t.agreement, t.from_day, t.tariff_code, t.attributes, t.reason, t.state, t.backdated,
       t.proposed_by, t.proposed_at, t.decided_by, t.decided_at, t.applied_at
FROM customers.terms_change AS t
WHERE t.state <> 'base' AND (t.id = %(id)s::bigint OR %(id)s::bigint IS NULL)
  AND (t.agreement = %(agreement)s::text OR %(agreement)s::text IS NULL)
  AND (t.state = 'proposed' OR NOT %(waiting)s::boolean)
ORDER BY t.id DESC LIMIT 500;

-- due_terms
-- Agreements with agreed changes up to a day that nothing was brought to yet; no locks.
SELECT t.agreement, min(t.from_day) FROM customers.terms_change AS t
WHERE t.state = 'approved' AND t.applied_at IS NULL AND t.from_day <= %(day)s::date
GROUP BY t.agreement ORDER BY t.agreement;

-- apply_terms
-- The agreement's row as it is from now on. Locks the row.
UPDATE customers.agreement AS g
SET tariff_code = %(tariff_code)s, pinned_hash = %(pinned_hash)s,
    attributes = %(attributes)s::jsonb
WHERE g.id = %(agreement)s;

-- mark_terms_applied
-- Agreed changes up to a day are done. Locks their rows.
UPDATE customers.terms_change AS t SET applied_at = %(now)s
WHERE t.agreement = %(agreement)s AND t.state = 'approved' AND t.applied_at IS NULL
  AND t.from_day <= %(day)s::date;
