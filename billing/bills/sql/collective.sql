-- standing_bills_of_accounts
-- Standing bills of the accounts named whose days end in a period; no locks.
SELECT b.id FROM bills.standing AS b
WHERE b.account = ANY (%(accounts)s::text[])
  AND b.period_end > %(start)s::date AND b.period_end <= %(end)s::date
ORDER BY b.account, b.period_end, b.id;

-- insert_collective_bill
-- One row.
INSERT INTO bills.collective_bill
    (collective, currency, period_start, period_end, seq, bills, total_micros, posted_micros,
     issued_at, due_on, actor)
VALUES (%(collective)s, %(currency)s, %(start)s, %(end)s, %(seq)s, %(bills)s, %(total)s,
        %(posted)s, %(now)s, %(due_on)s, %(actor)s)
RETURNING id;

-- collective_bills
-- Bills of one company, newest first, or one of them; no locks.
SELECT k.id, k.collective, k.currency, k.period_start, k.period_end, k.seq, k.bills,
       k.total_micros, k.posted_micros, k.issued_at, k.due_on, k.actor
FROM bills.collective_bill AS k
WHERE k.collective = %(collective)s AND (%(bill)s::bigint IS NULL OR k.id = %(bill)s::bigint)
ORDER BY k.id DESC LIMIT 100;
