-- insert_plan
-- One row, or none when the account has an open plan.
INSERT INTO bills.plan
    (account, agreement, usage_point, currency, zone, state, ar_energy, ar_penalty, ar_connection,
     prepaid, first_micros, instalments, terms, two_people, reason, proposed_by, proposed_at)
VALUES (%(account)s, %(agreement)s, %(usage_point)s, %(currency)s, %(zone)s, %(state)s,
        %(ar_energy)s, %(ar_penalty)s, %(ar_connection)s, %(prepaid)s, %(first)s, %(instalments)s,
        %(terms)s, %(two_people)s, %(reason)s, %(actor)s, %(now)s)
ON CONFLICT (account) WHERE state IN ('proposed', 'approved', 'active') DO NOTHING
RETURNING id;

-- plan_for_update
-- One plan, locked until commit, or none.
SELECT p.id, p.account, p.agreement, p.usage_point, p.currency, p.zone, p.state, p.ar_energy,
       p.ar_penalty, p.ar_connection, p.prepaid, p.first_micros, p.instalments, p.terms,
       p.two_people, p.reason, p.proposed_by, p.proposed_at, p.decided_by, p.signed_by,
       p.signed_ref, p.signed_on, p.ended_by, p.ended_at
FROM bills.plan AS p WHERE p.id = %(plan)s FOR UPDATE;

-- plans_of_account
-- The plans of one account, newest first; no locks.
SELECT p.id, p.account, p.agreement, p.usage_point, p.currency, p.zone, p.state, p.ar_energy,
       p.ar_penalty, p.ar_connection, p.prepaid, p.first_micros, p.instalments, p.terms,
       p.two_people, p.reason, p.proposed_by, p.proposed_at, p.decided_by, p.signed_by,
       p.signed_ref, p.signed_on, p.ended_by, p.ended_at
FROM bills.plan AS p WHERE p.account = %(account)s ORDER BY p.id DESC;

-- plans_in_states
-- The plans in some states, oldest first, at most so many; no locks.
SELECT p.id, p.account, p.agreement, p.usage_point, p.currency, p.zone, p.state, p.ar_energy,
       p.ar_penalty, p.ar_connection, p.prepaid, p.first_micros, p.instalments, p.terms,
       p.two_people, p.reason, p.proposed_by, p.proposed_at, p.decided_by, p.signed_by,
       p.signed_ref, p.signed_on, p.ended_by, p.ended_at
FROM bills.plan AS p WHERE p.state = ANY (%(states)s::text[]) ORDER BY p.id LIMIT %(limit)s::int;

-- plans_to_look_at
-- Active plans whose day has come, and those whose shares are all asked for and paid; no locks.
SELECT p.id FROM bills.plan AS p
WHERE p.state = 'active' AND p.look_at <= %(now)s
UNION
SELECT p.id FROM bills.plan AS p
JOIN ledger.receivable AS r
    ON r.account = 'ar_instalment:' || p.account AND r.currency = p.currency AND r.owed = 0
WHERE p.state = 'active'
  AND NOT EXISTS (
      SELECT 1 FROM bills.instalment AS i WHERE i.plan = p.id AND i.entry_id IS NULL)
ORDER BY id LIMIT %(limit)s::int;

-- plans_to_reopen
-- Paid plans with a share that is owed again, of agreements that go on and without a plan after
-- them that is open; no locks.
SELECT p.id
FROM bills.plan AS p
JOIN ledger.receivable AS r
    ON r.account = 'ar_instalment:' || p.account AND r.currency = p.currency AND r.owed > 0
WHERE p.state = 'paid'
  AND NOT EXISTS (
      SELECT 1 FROM bills.plan AS n WHERE n.account = p.account AND (
          n.state IN ('proposed', 'approved', 'active') OR n.state = 'paid' AND n.id > p.id))
  AND NOT EXISTS (SELECT 1 FROM bills.ending AS e WHERE e.agreement = p.agreement)
ORDER BY p.id LIMIT %(limit)s::int;

-- reopen_plan
-- One plan, locked by the caller, goes on and is looked at now.
UPDATE bills.plan SET state = 'active', ended_by = '', ended_at = NULL, look_at = %(now)s
WHERE id = %(plan)s;

-- decide_plan
-- One plan, locked by the caller, moves on.
UPDATE bills.plan
SET state = %(state)s, decided_by = %(actor)s, decided_at = %(now)s
WHERE id = %(plan)s;

-- sign_plan
-- One plan, locked by the caller, takes its debt over.
UPDATE bills.plan
SET state = 'active', ar_energy = %(ar_energy)s, ar_penalty = %(ar_penalty)s,
    ar_connection = %(ar_connection)s, prepaid = %(prepaid)s, signed_by = %(actor)s,
    signed_ref = %(ref)s, signed_on = %(signed_on)s
WHERE id = %(plan)s;

-- end_plan
-- One plan, locked by the caller, ends.
UPDATE bills.plan SET state = %(state)s, ended_by = %(actor)s, ended_at = %(now)s, look_at = NULL
WHERE id = %(plan)s;

-- look_again
-- One plan, locked by the caller, is looked at again at an instant, or never.
UPDATE bills.plan SET look_at = %(at)s WHERE id = %(plan)s;

-- insert_instalments
-- The shares of one plan.
INSERT INTO bills.instalment (plan, seq, due_on, amount_micros)
SELECT %(plan)s, u.seq, u.due_on, u.amount
FROM unnest(%(seqs)s::integer[], %(days)s::date[], %(amounts)s::bigint[])
    AS u (seq, due_on, amount);

-- instalments_of
-- The shares of plans, by plan and number; no locks.
SELECT i.plan, i.seq, i.due_on, i.amount_micros, i.entry_id
FROM bills.instalment AS i WHERE i.plan = ANY (%(plans)s::bigint[]) ORDER BY i.plan, i.seq;

-- demand_instalment
-- One share becomes a due line.
UPDATE bills.instalment SET entry_id = %(entry)s, demanded_at = %(now)s
WHERE plan = %(plan)s AND seq = %(seq)s;

-- insert_debt_event
-- One row; it is never changed.
INSERT INTO bills.debt_event (plan, account, agreement, event, at, actor, reason, figures)
VALUES (%(plan)s, %(account)s, %(agreement)s, %(event)s, %(now)s, %(actor)s, %(reason)s,
        %(figures)s);

-- debt_events_after
-- Events of surely ended transactions after a number, oldest first; no locks.
SELECT e.id, e.plan, e.account, e.agreement, e.event, e.at, e.actor, e.reason, e.figures
FROM bills.debt_event AS e
WHERE e.id > %(after)s
  AND e.id < coalesce(
      (SELECT min(later.id) FROM bills.debt_event AS later
       WHERE later.id > %(after)s
         AND later.txid >= pg_snapshot_xmin(pg_current_snapshot())), 9223372036854775807)
ORDER BY e.id
LIMIT 1000;

-- debt_events_of
-- What happened to an account's debts, newest first; no locks.
SELECT e.id, e.plan, e.account, e.agreement, e.event, e.at, e.actor, e.reason, e.figures
FROM bills.debt_event AS e WHERE e.account = %(account)s
ORDER BY e.id DESC LIMIT %(limit)s::int;
