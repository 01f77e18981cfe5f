-- insert_customer
-- One row, or none when the customer is known. No locks beyond the row.
INSERT INTO customers.customer (id, name, kind, language, phone, registered_at)
VALUES (%(id)s, %(name)s, %(kind)s, %(language)s, %(phone)s, %(now)s)
ON CONFLICT (id) DO NOTHING;

-- insert_account
-- One row, or none when the account is known. No locks beyond the row.
INSERT INTO customers.account (id, customer, currency, opened_at)
VALUES (%(id)s, %(customer)s, %(currency)s, %(now)s)
ON CONFLICT (id) DO NOTHING;

-- insert_agreement
-- One row, or none when the agreement is known. No locks beyond the row.
INSERT INTO customers.agreement
    (id, account, usage_point, tariff_code, attributes, started_at, opening_register_wh,
     opening_year_wh, content)
VALUES (%(id)s, %(account)s, %(usage_point)s, %(tariff_code)s, %(attributes)s, %(started_at)s,
        %(opening_register_wh)s, %(opening_year_wh)s, %(content)s)
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- end_agreement
-- One open agreement ends, or none does; locks its row.
UPDATE customers.agreement AS g SET ended_at = %(at)s
WHERE g.id = %(agreement)s AND g.ended_at IS NULL RETURNING g.id;

-- agreement_contents
-- Content hashes of the agreements named; no locks.
SELECT g.id, g.content FROM customers.agreement AS g WHERE g.id = ANY (%(ids)s::text[]);

-- upsert_threshold
-- One row, inserted or replaced; locks it.
INSERT INTO customers.threshold
    (level, target, reminder_micros, cut_micros, notification, auto_remind, auto_dun,
     auto_restore, notice_hours, set_by, set_at)
VALUES (%(level)s, %(target)s, %(reminder_micros)s, %(cut_micros)s, %(notification)s,
        %(auto_remind)s, %(auto_dun)s, %(auto_restore)s, %(notice_hours)s, %(actor)s, %(now)s)
ON CONFLICT (level, target) DO UPDATE SET
    reminder_micros = excluded.reminder_micros, cut_micros = excluded.cut_micros,
    notification = excluded.notification, auto_remind = excluded.auto_remind,
    auto_dun = excluded.auto_dun, auto_restore = excluded.auto_restore,
    notice_hours = excluded.notice_hours, set_by = excluded.set_by, set_at = excluded.set_at;

-- all_thresholds
-- Every threshold set at any level; no locks.
SELECT t.level, t.target, t.reminder_micros, t.cut_micros, t.notification, t.auto_remind,
       t.auto_dun, t.auto_restore, t.notice_hours
FROM customers.threshold AS t;

-- cards_by_account
-- One row per account named: its customer and newest agreement. No locks.
SELECT DISTINCT ON (a.id)
       c.id, c.name, c.kind, c.language, c.phone, a.id AS account, a.currency, g.id AS agreement,
       g.usage_point, g.tariff_code, g.pinned_hash, g.started_at, g.ended_at,
       g.opening_register_wh, g.opening_year_wh, g.attributes
FROM customers.account AS a
JOIN customers.customer AS c ON c.id = a.customer
JOIN customers.agreement AS g ON g.account = a.id
WHERE a.id = ANY (%(accounts)s::text[])
ORDER BY a.id, g.started_at DESC;

-- card_by_usage_point
-- The open agreement of a usage point, or none. No locks.
SELECT c.id, c.name, c.kind, c.language, c.phone, a.id AS account, a.currency, g.id AS agreement,
       g.usage_point, g.tariff_code, g.pinned_hash, g.started_at, g.ended_at,
       g.opening_register_wh, g.opening_year_wh, g.attributes
FROM customers.agreement AS g
JOIN customers.account AS a ON a.id = g.account
JOIN customers.customer AS c ON c.id = a.customer
WHERE g.usage_point = %(usage_point)s AND g.ended_at IS NULL;

-- find_cards
-- Customers whose id, account, agreement, usage point or name holds the text. No locks.
SELECT c.id, c.name, c.kind, c.language, c.phone, a.id AS account, a.currency, g.id AS agreement,
       g.usage_point, g.tariff_code, g.pinned_hash, g.started_at, g.ended_at,
       g.opening_register_wh, g.opening_year_wh, g.attributes
FROM customers.agreement AS g
JOIN customers.account AS a ON a.id = g.account
JOIN customers.customer AS c ON c.id = a.customer
WHERE g.ended_at IS NULL
  AND (strpos(lower(c.name), lower(%(text)s::text)) > 0
       OR strpos(lower(c.id || ' ' || a.id || ' ' || g.id || ' ' || g.usage_point),
                 lower(%(text)s::text)) > 0)
ORDER BY g.usage_point
LIMIT %(limit)s::int;
