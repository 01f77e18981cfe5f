-- insert_deposit
-- One row, or none when the account has an open deposit.
INSERT INTO bills.deposit
    (account, agreement, currency, zone, amount_micros, rule, reason, demanded_by, demanded_at,
     due_on)
VALUES (%(account)s, %(agreement)s, %(currency)s, %(zone)s, %(amount)s, %(rule)s, %(reason)s,
        %(actor)s, %(now)s, %(due_on)s)
ON CONFLICT (account) WHERE state IN ('demanded', 'held', 'returning') DO NOTHING
RETURNING id;

-- deposit_for_update
-- One deposit, locked until commit, or none.
SELECT d.id, d.account, d.agreement, d.currency, d.zone, d.amount_micros, d.rule, d.state,
       d.reason, d.demanded_by, d.demanded_at, d.due_on, d.held_on, d.interest_micros,
       d.proposed_by, d.channel, d.decided_by, d.ended_at
FROM bills.deposit AS d WHERE d.id = %(deposit)s FOR UPDATE;

-- deposits_of_account
-- The deposits of one account, newest first; no locks.
SELECT d.id, d.account, d.agreement, d.currency, d.zone, d.amount_micros, d.rule, d.state,
       d.reason, d.demanded_by, d.demanded_at, d.due_on, d.held_on, d.interest_micros,
       d.proposed_by, d.channel, d.decided_by, d.ended_at
FROM bills.deposit AS d WHERE d.account = %(account)s ORDER BY d.id DESC;

-- deposits_in_states
-- The deposits in some states, oldest first, at most so many; no locks.
SELECT d.id, d.account, d.agreement, d.currency, d.zone, d.amount_micros, d.rule, d.state,
       d.reason, d.demanded_by, d.demanded_at, d.due_on, d.held_on, d.interest_micros,
       d.proposed_by, d.channel, d.decided_by, d.ended_at
FROM bills.deposit AS d WHERE d.state = ANY (%(states)s::text[]) ORDER BY d.id
LIMIT %(limit)s::int;

-- deposits_paid
-- Demanded deposits of which nothing is owed any more; no locks.
SELECT d.id FROM bills.deposit AS d
JOIN ledger.receivable AS r
    ON r.account = 'ar_deposit:' || d.account AND r.currency = d.currency AND r.owed = 0
WHERE d.state = 'demanded'
ORDER BY d.id LIMIT %(limit)s::int;

-- move_deposit
-- One deposit, locked by the caller, moves on; what is not named stays.
UPDATE bills.deposit
SET state = %(state)s, held_on = coalesce(%(held_on)s, held_on),
    interest_micros = coalesce(%(interest)s, interest_micros),
    proposed_by = coalesce(%(proposed_by)s, proposed_by),
    channel = coalesce(%(channel)s, channel), decided_by = coalesce(%(decided_by)s, decided_by),
    ended_at = coalesce(%(ended_at)s, ended_at)
WHERE id = %(deposit)s;

-- billed_lately
-- What standing metered bills of an agreement came to since a day, and their days; no locks.
SELECT coalesce(sum(b.total_micros), 0)::bigint,
       coalesce(sum(b.period_end - b.period_start), 0)::bigint
FROM bills.standing AS b
WHERE b.agreement = %(agreement)s AND b.kind = ANY (%(kinds)s::text[]) AND b.period_end > %(since)s;
