-- insert_ending
-- One row: the agreement has ended with its final bill.
INSERT INTO bills.ending
    (agreement, account, usage_point, currency, zone, bill, ended_on, register_wh, drawn,
     deposit_micros, interest_micros, left_micros, state, reason, ended_by, ended_at, changed_at)
VALUES (%(agreement)s, %(account)s, %(usage_point)s, %(currency)s, %(zone)s, %(bill)s,
        %(ended_on)s, %(register_wh)s, %(drawn)s, %(deposit)s, %(interest)s, 0, 'settled',
        %(reason)s, %(actor)s, %(now)s, %(now)s);

-- ending_for_update
-- The end of one agreement, locked until commit, or none.
SELECT e.agreement, e.account, e.usage_point, e.currency, e.zone, e.bill, e.ended_on,
       e.register_wh, e.drawn, e.deposit_micros, e.interest_micros, e.left_micros, e.state,
       e.reason, e.ended_by, e.ended_at, e.proposed_by, e.channel, e.decided_by,
       e.refunded_micros
FROM bills.ending AS e WHERE e.agreement = %(agreement)s FOR UPDATE;

-- endings_of_account
-- The ends of an account's agreements, newest first; no locks.
SELECT e.agreement, e.account, e.usage_point, e.currency, e.zone, e.bill, e.ended_on,
       e.register_wh, e.drawn, e.deposit_micros, e.interest_micros, e.left_micros, e.state,
       e.reason, e.ended_by, e.ended_at, e.proposed_by, e.channel, e.decided_by,
       e.refunded_micros
FROM bills.ending AS e WHERE e.account = %(account)s ORDER BY e.ended_on DESC, e.agreement;

-- endings_in_states
-- Ends whose settlement is in some states, newest first, at most so many; no locks.
SELECT e.agreement, e.account, e.usage_point, e.currency, e.zone, e.bill, e.ended_on,
       e.register_wh, e.drawn, e.deposit_micros, e.interest_micros, e.left_micros, e.state,
       e.reason, e.ended_by, e.ended_at, e.proposed_by, e.channel, e.decided_by,
       e.refunded_micros
FROM bills.ending AS e WHERE e.state = ANY (%(states)s::text[])
ORDER BY e.ended_on DESC, e.agreement LIMIT %(limit)s::int;

-- endings_that_moved
-- Ends in some states whose account holds another sum than their settlement says; no locks.
SELECT e.agreement
FROM bills.ending AS e
JOIN ledger.customer_balance AS b ON b.account = e.account AND b.currency = e.currency
WHERE e.state = ANY (%(states)s::text[])
  AND NOT EXISTS (SELECT 1 FROM customers.open_agreement AS o WHERE o.account = e.account)
  AND e.left_micros <> b.posted_micros - coalesce((
      SELECT sum(r.owed) FROM ledger.receivable AS r
      WHERE r.currency = e.currency AND r.account = ANY (ARRAY[
          'ar_penalty:' || e.account, 'ar_connection:' || e.account,
          'ar_instalment:' || e.account, 'ar_energy:' || e.account,
          'ar_deposit:' || e.account, 'ar_emergency:' || e.account,
          'ar_old_debt:' || e.account])), 0)
ORDER BY e.agreement LIMIT %(limit)s::int;

-- move_ending
-- The end of one agreement, locked by the caller, moves on; what is not named stays.
UPDATE bills.ending
SET state = %(state)s, left_micros = %(left)s, changed_at = %(now)s,
    proposed_by = coalesce(%(proposed_by)s, proposed_by),
    channel = coalesce(%(channel)s, channel), decided_by = coalesce(%(decided_by)s, decided_by),
    refunded_micros = refunded_micros + %(refunded)s
WHERE agreement = %(agreement)s;

-- correct_ending
-- The end of one agreement, locked by the caller, has another bill and register.
UPDATE bills.ending SET bill = %(bill)s, register_wh = %(register_wh)s, changed_at = %(now)s
WHERE agreement = %(agreement)s;

-- take_look
-- One row when all ends were not looked at since an instant; they are now.
INSERT INTO bills.endings_looked AS l (at) VALUES (%(now)s::timestamptz)
ON CONFLICT (single) DO UPDATE SET at = excluded.at WHERE l.at <= %(since)s::timestamptz
RETURNING l.at;

-- open_agreements_of
-- Open agreements of an account; no locks.
SELECT o.agreement FROM customers.open_agreement AS o WHERE o.account = %(account)s;
