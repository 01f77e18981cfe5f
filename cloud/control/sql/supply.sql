-- open_supply
-- One row, or none when it is there already.
INSERT INTO control.supply_state (usage_point, transformer, protected, changed_at)
VALUES (
    %(usage_point)s, %(transformer)s,
    EXISTS (
        SELECT 1 FROM control.protection AS p
        WHERE p.ended_at IS NULL
          AND ((p.level = 'usage_point' AND p.target = %(usage_point)s)
            OR (p.level = 'transformer' AND p.target = %(transformer)s))
    ),
    %(now)s
)
ON CONFLICT (usage_point) DO NOTHING;

-- lock_supply_state
-- One row or none. Takes the row lock that every payment for this usage point also takes.
SELECT s.usage_point, s.protected, s.epoch, s.open_command, s.relay_state, s.state_at,
       s.state_source, s.cut_for_arrears, s.restore_due_at, s.transformer, s.feeder, s.keep_power
FROM control.supply_state AS s
WHERE s.usage_point = %(usage_point)s
FOR UPDATE;

-- lock_supply_states
-- One row for each supply named that there is, by usage point, with the row lock that a cut takes.
SELECT s.usage_point, s.protected, s.epoch, s.open_command, s.relay_state, s.state_at,
       s.state_source, s.cut_for_arrears, s.restore_due_at, s.transformer, s.feeder, s.keep_power
FROM control.supply_state AS s
WHERE s.usage_point = ANY (%(usage_points)s::text[])
ORDER BY s.usage_point
FOR UPDATE;

-- supply_state
-- One row or none; no lock.
SELECT s.usage_point, s.protected, s.epoch, s.open_command, s.relay_state, s.state_at,
       s.state_source, s.cut_for_arrears, s.restore_due_at, s.transformer, s.feeder, s.keep_power
FROM control.supply_state AS s
WHERE s.usage_point = %(usage_point)s;

-- gate_facts
-- One row; read after the supply row is locked, so that it sees what was committed before.
SELECT
    EXISTS (
        SELECT 1 FROM control.protection AS p
        WHERE p.ended_at IS NULL AND p.valid_from <= %(now)s
          AND (p.valid_until IS NULL OR p.valid_until > %(now)s)
          AND ((p.level = 'usage_point' AND p.target = %(usage_point)s)
            OR (p.level = 'transformer' AND p.target = %(transformer)s)
            OR (p.level = 'feeder' AND p.target = %(feeder)s))
    ) AS protected,
    EXISTS (
        SELECT 1 FROM control.hold AS h
        WHERE h.usage_point = %(usage_point)s AND h.released_at IS NULL
          AND (h.until IS NULL OR h.until > %(now)s)
    ) AS held,
    (SELECT h.halted FROM control.halt AS h) AS halted,
    (SELECT count(*) FROM control.command AS c
     WHERE c.verb = 'disconnect' AND c.issued_at > %(hour_ago)s) AS hour,
    (SELECT count(*) FROM control.command AS c
     WHERE c.verb = 'disconnect' AND c.issued_at > %(two_days_ago)s
       AND c.local_day = %(local_day)s) AS day,
    (SELECT count(*) FROM control.command AS c
     WHERE c.verb = 'disconnect' AND c.issued_at > %(two_days_ago)s
       AND c.local_day = %(local_day)s AND c.transformer = %(transformer)s) AS transformer_day;

-- raise_epoch
-- One row, locked by the caller.
UPDATE control.supply_state AS s
SET epoch = s.epoch + 1, changed_at = %(now)s
WHERE s.usage_point = %(usage_point)s
RETURNING s.epoch;

-- raise_epochs
-- The rows named, locked by the caller.
UPDATE control.supply_state AS s
SET epoch = s.epoch + 1, changed_at = %(now)s
WHERE s.usage_point = ANY (%(usage_points)s::text[])
RETURNING s.usage_point, s.epoch;

-- supplies_being_cut
-- Of the supplies named, those with a request or an order to cut that is not over; no locks beyond
-- the caller's.
SELECT u.usage_point FROM unnest(%(usage_points)s::text[]) AS u (usage_point)
WHERE EXISTS (
        SELECT 1 FROM control.command AS c
        WHERE c.usage_point = u.usage_point AND c.verb = 'disconnect' AND c.ended_at IS NULL)
   OR EXISTS (
        SELECT 1 FROM control.request AS r
        WHERE r.usage_point = u.usage_point
          AND r.state IN ('requested', 'approved_1', 'approved_2', 'rechecked', 'ordered'));

-- set_relay
-- One row, locked by the caller; an older observation than the known one changes nothing.
UPDATE control.supply_state AS s
SET relay_state = %(relay_state)s, state_at = %(at)s, state_source = %(source)s,
    changed_at = %(now)s
WHERE s.usage_point = %(usage_point)s AND (s.state_at IS NULL OR s.state_at <= %(at)s);

-- set_cut
-- One row, locked by the caller.
UPDATE control.supply_state AS s
SET cut_for_arrears = %(cut)s, changed_at = %(now)s
WHERE s.usage_point = %(usage_point)s;

-- set_restore_due
-- One row, locked by the caller; keeps the first instant of a restoration that is due already.
UPDATE control.supply_state AS s
SET restore_due_at = coalesce(s.restore_due_at, %(now)s), changed_at = %(now)s
WHERE s.usage_point = %(usage_point)s;

-- clear_restore_due
-- One row, locked by the caller.
UPDATE control.supply_state AS s
SET restore_due_at = NULL, restore_alarmed_at = NULL, changed_at = %(now)s
WHERE s.usage_point = %(usage_point)s;

-- set_alarmed
-- One row, locked by the caller.
UPDATE control.supply_state AS s
SET restore_alarmed_at = %(now)s, changed_at = %(now)s
WHERE s.usage_point = %(usage_point)s;

-- restores_due
-- Supplies that wait for power with nothing under way, longest waiting first; no locks.
SELECT s.usage_point
FROM control.supply_state AS s
WHERE s.restore_due_at IS NOT NULL
  AND s.relay_state IN ('disconnected', 'unknown')
  AND NOT EXISTS (
      SELECT 1 FROM control.command AS c
      WHERE c.usage_point = s.usage_point AND c.verb IN ('disconnect', 'reconnect')
        AND (c.ended_at IS NULL OR c.ended_at > %(tried_after)s)
  )
ORDER BY s.restore_due_at
LIMIT 200;

-- restores_overdue
-- Supplies that wait for power since before an instant and whose alarm was not raised; no locks.
SELECT s.usage_point
FROM control.supply_state AS s
WHERE s.restore_due_at < %(due_before)s AND s.restore_alarmed_at IS NULL
ORDER BY s.restore_due_at
LIMIT 200;

-- relay_positions
-- Where the switches of the supplies named stand; no locks.
SELECT s.usage_point, s.relay_state, s.state_at, s.open_command IS NOT NULL AS busy
FROM control.supply_state AS s
WHERE s.usage_point = ANY (%(usage_points)s);

-- unpublished_supplies
-- Supplies whose live message is not the newest; no locks.
SELECT s.usage_point, s.relay_state, s.state_at, s.open_command, s.version
FROM control.supply_state AS s
WHERE s.version <> s.published
ORDER BY s.usage_point
LIMIT 500;

-- mark_published
-- One row.
UPDATE control.supply_state AS s
SET published = %(version)s
WHERE s.usage_point = %(usage_point)s;

-- forget_published
-- Every row that was published: the broker may have lost its retained messages.
UPDATE control.supply_state AS s SET published = 0 WHERE s.published <> 0;

-- lock_supplies_of
-- The supplies at or below one point of the network, in order; takes their row locks.
SELECT s.usage_point
FROM control.supply_state AS s
WHERE (%(level)s = 'usage_point' AND s.usage_point = %(target)s)
   OR (%(level)s = 'transformer' AND s.transformer = %(target)s)
   OR (%(level)s = 'feeder' AND s.feeder = %(target)s)
ORDER BY s.usage_point
FOR UPDATE;

-- set_protected
-- One row, locked by the caller.
UPDATE control.supply_state AS s
SET protected = %(protected)s, changed_at = %(now)s
WHERE s.usage_point = %(usage_point)s AND s.protected <> %(protected)s;

-- insert_protection
-- One row, or none where that target is protected already.
INSERT INTO control.protection (level, target, reason, actor, valid_from, valid_until)
VALUES (%(level)s, %(target)s, %(reason)s, %(actor)s, %(now)s, %(until)s)
ON CONFLICT (level, target) WHERE ended_at IS NULL
DO UPDATE SET reason = excluded.reason, actor = excluded.actor, valid_until = excluded.valid_until
RETURNING id;

-- end_protection
-- One row or none.
UPDATE control.protection AS p
SET ended_at = %(now)s
WHERE p.level = %(level)s AND p.target = %(target)s AND p.ended_at IS NULL
RETURNING p.id;

-- protections_lapsed
-- Protections whose time is over and that nobody has ended; no locks.
SELECT p.level, p.target
FROM control.protection AS p
WHERE p.ended_at IS NULL AND p.valid_until <= %(now)s
ORDER BY p.id
LIMIT 50;

-- protections_of
-- Open protections over one supply, the widest first.
SELECT p.id, p.level, p.target, p.reason, p.actor, p.valid_from, p.valid_until
FROM control.protection AS p
JOIN control.supply_state AS s ON s.usage_point = %(usage_point)s
WHERE p.ended_at IS NULL
  AND ((p.level = 'usage_point' AND p.target = s.usage_point)
    OR (p.level = 'transformer' AND p.target = s.transformer)
    OR (p.level = 'feeder' AND p.target = s.feeder))
ORDER BY p.level, p.id;

-- insert_hold
-- One row; the same reference again replaces its end.
INSERT INTO control.hold (usage_point, kind, ref, reason, actor, placed_at, until)
VALUES (%(usage_point)s, %(kind)s, %(ref)s, %(reason)s, %(actor)s, %(now)s, %(until)s)
ON CONFLICT ON CONSTRAINT hold_ref_unique
DO UPDATE SET until = excluded.until, reason = excluded.reason, released_at = NULL;

-- release_hold
-- One row or none.
UPDATE control.hold AS h
SET released_at = %(now)s
WHERE h.usage_point = %(usage_point)s AND h.ref = %(ref)s AND h.released_at IS NULL
RETURNING h.id;

-- halt_state
-- The one row.
SELECT h.halted, h.actor, h.reason, h.at FROM control.halt AS h;

-- set_halt
-- The one row.
UPDATE control.halt AS h
SET halted = %(halted)s, actor = %(actor)s, reason = %(reason)s, at = %(now)s;

-- policy
-- The one row.
SELECT p.zone, p.window_start_hour, p.window_end_hour, p.weekdays, p.max_cuts_per_hour,
       p.max_cuts_per_day, p.max_cuts_per_transformer_day, p.request_valid_hours,
       p.recheck_valid_hours, p.command_ttl_seconds, p.handshake_seconds,
       p.restore_retry_seconds, p.restore_alarm_seconds, p.cut_tries, p.push_keep_power
FROM control.policy AS p;

-- lock_policy
-- The one row, locked: cuts are counted against their limits one transaction at a time.
SELECT p.zone, p.window_start_hour, p.window_end_hour, p.weekdays, p.max_cuts_per_hour,
       p.max_cuts_per_day, p.max_cuts_per_transformer_day, p.request_valid_hours,
       p.recheck_valid_hours, p.command_ttl_seconds, p.handshake_seconds,
       p.restore_retry_seconds, p.restore_alarm_seconds, p.cut_tries, p.push_keep_power
FROM control.policy AS p
FOR UPDATE;

-- set_policy
-- The one row.
UPDATE control.policy AS p
SET zone = %(zone)s, window_start_hour = %(window_start_hour)s,
    window_end_hour = %(window_end_hour)s, weekdays = %(weekdays)s,
    max_cuts_per_hour = %(max_cuts_per_hour)s, max_cuts_per_day = %(max_cuts_per_day)s,
    max_cuts_per_transformer_day = %(max_cuts_per_transformer_day)s,
    request_valid_hours = %(request_valid_hours)s, recheck_valid_hours = %(recheck_valid_hours)s,
    command_ttl_seconds = %(command_ttl_seconds)s, handshake_seconds = %(handshake_seconds)s,
    restore_retry_seconds = %(restore_retry_seconds)s,
    restore_alarm_seconds = %(restore_alarm_seconds)s, cut_tries = %(cut_tries)s,
    push_keep_power = %(push_keep_power)s;
