-- lock_penalty_accounts
-- One row per account named; advisory locks on their penalties until commit, in order.
SELECT pg_advisory_xact_lock(730511746, hashtext(u.account))
FROM unnest(%(accounts)s::text[]) AS u (account);

-- accounts_to_accrue
-- Accounts with a bill past due that was not accrued up to a day, in pages by name; no locks.
-- A bill that an accrual found paid is left alone, unless a plan gave debts back since.
SELECT DISTINCT b.account
FROM bills.standing AS b
WHERE b.due_on < %(upto)s AND b.posted_micros > 0 AND b.account > %(after)s
  AND NOT EXISTS (
      SELECT 1 FROM bills.penalty_accrual AS p
      WHERE p.bill = b.id AND (p.upto >= %(upto)s OR (p.open_micros = 0 AND NOT EXISTS (
          SELECT 1 FROM bills.debt_event AS e
          WHERE e.account = b.account AND e.at >= p.at
            AND e.event IN ('plan_broken', 'plan_cancelled')))))
ORDER BY b.account LIMIT %(limit)s::int;

-- owed_bills
-- What standing bills of the accounts named charged to their receivable, oldest due first;
-- no locks.
SELECT b.account, b.id, b.due_on, sum(l.side * l.amount_micros)::bigint
FROM bills.standing AS b
JOIN ledger.posted_leg AS l ON l.entry_id = b.entry_id AND l.kind = 'ar_energy'
WHERE b.account = ANY (%(accounts)s::text[])
GROUP BY b.account, b.id, b.due_on
ORDER BY b.account, b.due_on, b.id;

-- money_flows
-- Money to (or, negative, from) the energy receivable and prepayment of accounts, by day; no locks.
-- Bills that were owed and what took them back are not money, theft is another debt.
SELECT u.account, l.value_date, -sum(l.side * l.amount_micros)::bigint
FROM unnest(%(accounts)s::text[]) AS u (account)
JOIN ledger.dated_leg AS l ON l.code IN (u.account, 'ar_energy:' || u.account)
WHERE l.entry_kind <> 'theft_penalty'
  AND NOT EXISTS (
      SELECT 1 FROM ledger.dated_leg AS o
      WHERE o.entry_id = coalesce(l.reverses, l.entry_id) AND o.kind = 'ar_energy'
        AND o.entry_kind IN ('bill', 'theft_penalty'))
GROUP BY u.account, l.value_date
ORDER BY u.account, l.value_date;

-- penalties_charged
-- What was accrued of every bill of the accounts named, cancelled ones too, the last day, and
-- whether it found the bill paid, which a plan that gave debts back takes back; no locks.
SELECT p.bill, sum(p.amount_micros)::bigint, max(p.upto),
       bool_or(p.open_micros = 0 AND NOT EXISTS (
           SELECT 1 FROM bills.debt_event AS e
           WHERE e.account = b.account AND e.at >= p.at
             AND e.event IN ('plan_broken', 'plan_cancelled')))
FROM bills.penalty_accrual AS p JOIN bills.bill AS b ON b.id = p.bill
WHERE b.account = ANY (%(accounts)s::text[])
GROUP BY p.bill;

-- account_kinds
-- Currency and kind of customer of the accounts named; no locks.
SELECT k.account, k.currency, k.kind FROM customers.account_kind AS k
WHERE k.account = ANY (%(accounts)s::text[]);

-- insert_accruals
-- One row per bill that was accrued up to a day.
INSERT INTO bills.penalty_accrual (bill, upto, amount_micros, open_micros, entry_id, rule, at)
SELECT u.bill, %(upto)s, u.amount, u.open, u.entry, %(rule)s, %(now)s::timestamptz
FROM unnest(%(bills)s::bigint[], %(amounts)s::bigint[], %(opens)s::bigint[],
            %(entries)s::bigint[]) AS u (bill, amount, open, entry);

-- insert_paper
-- One document, proposed.
INSERT INTO bills.penalty_document
    (bill, kind, amount_micros, from_on, until_on, reason, proposed_by, proposed_at)
VALUES (%(bill)s, %(kind)s, %(amount)s, %(from_on)s, %(until_on)s, %(reason)s, %(actor)s, %(now)s)
RETURNING id;

-- papers_of_accounts
-- Documents of the accounts named, oldest first; no locks.
SELECT d.id, d.bill, b.account, d.kind, d.state, d.amount_micros, d.from_on, d.until_on, d.reason,
       d.proposed_by, d.decided_by, d.entry_id
FROM bills.penalty_document AS d JOIN bills.bill AS b ON b.id = d.bill
WHERE b.account = ANY (%(accounts)s::text[])
ORDER BY d.id;

-- paper_for_update
-- One document, locked, or none.
SELECT d.id, d.bill, b.account, d.kind, d.state, d.amount_micros, d.from_on, d.until_on, d.reason,
       d.proposed_by, d.decided_by, d.entry_id
FROM bills.penalty_document AS d JOIN bills.bill AS b ON b.id = d.bill
WHERE d.id = %(paper)s FOR UPDATE OF d;

-- decide_paper
-- One document moves on.
UPDATE bills.penalty_document
SET state = %(state)s, decided_by = %(actor)s, decided_at = %(now)s, entry_id = %(entry)s
WHERE id = %(paper)s;
