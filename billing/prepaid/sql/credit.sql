-- all_policies
-- Every part of a policy at any level; no locks.
SELECT p.level, p.target, p.cut_weekdays, p.cut_from_hour, p.cut_until_hour, p.spare_eves,
       p.emergency_micros, p.emergency_auto, p.emergency_from_micros, p.recovery_permille,
       p.recovery_cap_micros, p.horizon_days, p.unseen_minutes, p.limit_minutes, p.watch_days
FROM prepaid.policy AS p;

-- upsert_policy
-- One row, inserted or replaced; locks it.
INSERT INTO prepaid.policy AS p
    (level, target, cut_weekdays, cut_from_hour, cut_until_hour, spare_eves, emergency_micros,
     emergency_auto, emergency_from_micros, recovery_permille, recovery_cap_micros,
     horizon_days, unseen_minutes, limit_minutes, watch_days, set_by, set_at)
VALUES (%(level)s, %(target)s, %(cut_weekdays)s, %(cut_from_hour)s, %(cut_until_hour)s,
        %(spare_eves)s, %(emergency_micros)s, %(emergency_auto)s, %(emergency_from_micros)s,
        %(recovery_permille)s, %(recovery_cap_micros)s, %(horizon_days)s, %(unseen_minutes)s,
        %(limit_minutes)s, %(watch_days)s, %(actor)s, %(now)s)
ON CONFLICT (level, target) DO UPDATE SET
    cut_weekdays = excluded.cut_weekdays, cut_from_hour = excluded.cut_from_hour,
    cut_until_hour = excluded.cut_until_hour, spare_eves = excluded.spare_eves,
    emergency_micros = excluded.emergency_micros, emergency_auto = excluded.emergency_auto,
    emergency_from_micros = excluded.emergency_from_micros,
    recovery_permille = excluded.recovery_permille,
    recovery_cap_micros = excluded.recovery_cap_micros,
    horizon_days = excluded.horizon_days, unseen_minutes = excluded.unseen_minutes, limit_minutes = excluded.limit_minutes,
    watch_days = excluded.watch_days, set_by = excluded.set_by, set_at = excluded.set_at;

-- groups_of
-- The groups of the agreements named; no locks.
SELECT g.agreement, g.name FROM prepaid.group_member AS g
WHERE g.agreement = ANY (%(agreements)s::text[]);

-- members_of
-- Agreements in the groups named; no locks.
SELECT g.agreement FROM prepaid.group_member AS g WHERE g.name = ANY (%(names)s::text[]);

-- set_group
-- One row, inserted or replaced; locks it.
INSERT INTO prepaid.group_member (agreement, name, set_by, set_at)
VALUES (%(agreement)s, %(name)s, %(actor)s, %(now)s)
ON CONFLICT (agreement) DO UPDATE
SET name = excluded.name, set_by = excluded.set_by, set_at = excluded.set_at;

-- line_areas
-- Every area whose line is known; no locks.
SELECT l.transformer, l.line FROM prepaid.line_area AS l;

-- set_line
-- One row, inserted or replaced; locks it.
INSERT INTO prepaid.line_area (transformer, line, set_by, set_at)
VALUES (%(transformer)s, %(line)s, %(actor)s, %(now)s)
ON CONFLICT (transformer) DO UPDATE
SET line = excluded.line, set_by = excluded.set_by, set_at = excluded.set_at;

-- rest_days
-- Days without cuts from a day on; no locks.
SELECT r.day FROM prepaid.rest_day AS r WHERE r.day >= %(first)s ORDER BY r.day;

-- set_rest_day
-- One row, or none when the day rests already.
INSERT INTO prepaid.rest_day (day, name, set_by, set_at)
VALUES (%(day)s, %(name)s, %(actor)s, %(now)s)
ON CONFLICT (day) DO NOTHING;

-- insert_emergency
-- One row: the account's next loan; it is never changed. The caller holds the account's lock.
INSERT INTO prepaid.emergency
    (account, no, agreement, usage_point, at, amount_micros, currency, before_micros, entry_id,
     actor)
VALUES (%(account)s, %(no)s, %(agreement)s, %(usage_point)s, %(now)s, %(amount)s, %(currency)s,
        %(before)s, %(entry)s, %(actor)s);

-- emergencies_of
-- Loans of one account, newest first; no locks.
SELECT e.account, e.no, e.agreement, e.usage_point, e.at, e.amount_micros, e.currency,
       e.before_micros, e.entry_id, e.actor
FROM prepaid.emergency AS e
WHERE e.account = %(account)s
ORDER BY e.no DESC
LIMIT %(limit)s::int;

-- insert_old_debt
-- One row, or none when another proposal of the account is open.
INSERT INTO prepaid.old_debt
    (account, source, amount_micros, currency, reason, proposed_by, proposed_at)
VALUES (%(account)s, %(source)s, %(amount)s, %(currency)s, %(reason)s, %(actor)s, %(now)s)
ON CONFLICT (account) WHERE ended_at IS NULL DO NOTHING
RETURNING id;

-- lock_old_debt
-- One proposal or none. Takes its row lock until commit.
SELECT d.id, d.account, d.source, d.amount_micros, d.currency, d.reason, d.proposed_by,
       d.proposed_at, coalesce(d.ended_by, ''), d.ended_at, d.entry_id
FROM prepaid.old_debt AS d
WHERE d.id = %(id)s
FOR UPDATE;

-- end_old_debt
-- One row that the caller has locked.
UPDATE prepaid.old_debt AS d
SET ended_by = %(actor)s, ended_at = %(now)s, entry_id = %(entry)s
WHERE d.id = %(id)s;

-- old_debts_of
-- Debts set aside or proposed of one account, newest first; no locks.
SELECT d.id, d.account, d.source, d.amount_micros, d.currency, d.reason, d.proposed_by,
       d.proposed_at, coalesce(d.ended_by, ''), d.ended_at, d.entry_id
FROM prepaid.old_debt AS d
WHERE d.account = %(account)s
ORDER BY d.id DESC;

-- old_debts_open
-- Proposals that wait for a second person, oldest first; no locks.
SELECT d.id, d.account, d.source, d.amount_micros, d.currency, d.reason, d.proposed_by,
       d.proposed_at, coalesce(d.ended_by, ''), d.ended_at, d.entry_id
FROM prepaid.old_debt AS d
WHERE d.ended_at IS NULL
ORDER BY d.id;

-- read_upto
-- How far a stream was read, or none. Takes the row lock so that two readers take turns.
SELECT r.seq FROM prepaid.reader AS r WHERE r.stream = %(stream)s FOR UPDATE;

-- set_read_upto
-- One row, inserted or moved on.
INSERT INTO prepaid.reader (stream, seq) VALUES (%(stream)s, %(seq)s)
ON CONFLICT (stream) DO UPDATE SET seq = greatest(prepaid.reader.seq, excluded.seq);
