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
