-- set_keep_power
-- One row, locked by the caller.
UPDATE control.supply_state AS s
SET keep_power = %(keep_power)s, changed_at = %(now)s
WHERE s.usage_point = %(usage_point)s AND s.keep_power <> %(keep_power)s;

-- mark_keep_tried
-- One row, locked by the caller.
UPDATE control.supply_state AS s
SET keep_tried_at = %(now)s
WHERE s.usage_point = %(usage_point)s;

-- keeps_owed
-- Protected supplies whose meter is not known to keep power, longest untried first; no locks.
SELECT s.usage_point
FROM control.supply_state AS s
WHERE s.protected AND s.keep_power <> 'on'
  AND (s.keep_tried_at IS NULL OR s.keep_tried_at < %(tried_before)s)
ORDER BY s.keep_tried_at NULLS FIRST
LIMIT 50;

-- insert_release
-- One row; one open release a supply.
INSERT INTO control.keep_release (usage_point, requested_by, reason, requested_at, expires_at)
VALUES (%(usage_point)s, %(requested_by)s, %(reason)s, %(now)s, %(expires_at)s)
RETURNING id;

-- keep_release
-- One row or none; no lock (the supply's row is the lock).
SELECT r.id, r.usage_point, r.requested_by, r.reason, r.requested_at, r.expires_at, r.approved_by,
       r.closed_at, r.cause
FROM control.keep_release AS r
WHERE r.id = %(release)s;

-- open_release
-- The open release of a supply, or none.
SELECT r.id, r.usage_point, r.requested_by, r.reason, r.requested_at, r.expires_at, r.approved_by,
       r.closed_at, r.cause
FROM control.keep_release AS r
WHERE r.usage_point = %(usage_point)s AND r.closed_at IS NULL;

-- approve_release
-- One row or none, locked through its supply.
UPDATE control.keep_release AS r
SET approved_by = %(actor)s, approved_at = %(now)s
WHERE r.id = %(release)s AND r.closed_at IS NULL AND r.approved_by IS NULL
RETURNING r.id;

-- close_release
-- One row or none, locked through its supply.
UPDATE control.keep_release AS r
SET closed_at = %(now)s, cause = %(cause)s
WHERE r.id = %(release)s AND r.closed_at IS NULL
RETURNING r.id;

-- releases_lapsed
-- Releases that nobody approved in time; no locks.
SELECT r.id, r.usage_point
FROM control.keep_release AS r
WHERE r.closed_at IS NULL AND r.approved_by IS NULL AND r.expires_at <= %(now)s
ORDER BY r.expires_at
LIMIT 50;

-- newest_keep_order
-- The newest order about keep-power of a supply, or none.
SELECT c.id
FROM control.command AS c
WHERE c.usage_point = %(usage_point)s AND c.verb IN ('keep_power', 'end_keep_power')
ORDER BY c.lock_seq DESC
LIMIT 1;
