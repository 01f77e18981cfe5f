-- set_means
-- One account pays and is told so from now on; locks its row.
INSERT INTO bills.means (account, means, delivery, mandate, set_by, set_at)
VALUES (%(account)s, %(means)s, %(delivery)s, %(mandate)s, %(actor)s, %(now)s)
ON CONFLICT (account) DO UPDATE
SET means = excluded.means, delivery = excluded.delivery, mandate = excluded.mandate,
    set_by = excluded.set_by, set_at = excluded.set_at;

-- means_of
-- What the accounts named have chosen; no locks.
SELECT m.account, m.means, m.delivery, m.mandate FROM bills.means AS m
WHERE m.account = ANY (%(accounts)s::text[]);

-- insert_deliveries
-- How bills went out, those that had not.
INSERT INTO bills.delivery (bill, account, means, delivery, mandate, at)
SELECT u.bill, u.account, u.means, u.delivery, u.mandate, %(now)s::timestamptz
FROM unnest(%(bills)s::bigint[], %(accounts)s::text[], %(means)s::text[], %(deliveries)s::text[],
            %(mandates)s::text[]) AS u (bill, account, means, delivery, mandate)
ON CONFLICT (bill) DO NOTHING;

-- delivery_of
-- How one bill went out and when it was first looked at, or none; no locks.
SELECT d.means, d.delivery, d.mandate, d.at, d.opened_at, d.opened_by
FROM bills.delivery AS d WHERE d.bill = %(bill)s;

-- note_opened
-- One bill that nobody has looked at is looked at now, or none is.
UPDATE bills.delivery SET opened_at = %(now)s, opened_by = %(actor)s
WHERE bill = %(bill)s AND opened_at IS NULL RETURNING bill;

-- debits_of_run
-- Bills of a run that a bank is to take, that stand and are owed, by number; no locks.
SELECT d.mandate, b.account, b.id, b.period_end, b.due_on, b.posted_micros, b.currency
FROM bills.standing AS b JOIN bills.delivery AS d ON d.bill = b.id
WHERE b.run = %(run)s AND d.means = 'bank_debit' AND b.posted_micros > 0
ORDER BY b.id;

-- deliveries_of_run
-- How many bills of a run went out which way, and how many were looked at; no locks.
SELECT d.means, d.delivery, count(*), count(d.opened_at)
FROM bills.bill AS b JOIN bills.delivery AS d ON d.bill = b.id
WHERE b.run = %(run)s
GROUP BY d.means, d.delivery ORDER BY d.means, d.delivery;
