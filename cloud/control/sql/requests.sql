-- insert_request
-- One row.
INSERT INTO control.request
    (usage_point, state, cause, requested_by, reason, figures, epoch, created_at, expires_at,
     final_at)
VALUES
    (%(usage_point)s, %(state)s, %(cause)s, %(requested_by)s, %(reason)s, %(figures)s, %(epoch)s,
     %(now)s, %(expires_at)s, %(final_at)s)
RETURNING id;

-- request
-- One row or none, with its approvers in order; no lock.
SELECT r.id, r.usage_point, r.state, r.requested_by, r.reason, r.epoch, r.created_at,
       r.expires_at, r.rechecked_at, r.recheck_until, r.cause, r.waits_for, r.tries, r.figures,
       ARRAY(SELECT a.actor FROM control.approval AS a
             WHERE a.request = r.id ORDER BY a.position) AS approved_by
FROM control.request AS r
WHERE r.id = %(request)s;

-- lock_request
-- One row or none; takes its lock. The caller holds the supply's lock already.
SELECT r.id FROM control.request AS r WHERE r.id = %(request)s FOR UPDATE;

-- open_request
-- The id of the open request of a supply, or none.
SELECT r.id
FROM control.request AS r
WHERE r.usage_point = %(usage_point)s
  AND r.state IN ('requested', 'approved_1', 'approved_2', 'rechecked', 'ordered');

-- requests_of
-- Requests of one supply, newest first.
SELECT r.id, r.usage_point, r.state, r.requested_by, r.reason, r.epoch, r.created_at,
       r.expires_at, r.rechecked_at, r.recheck_until, r.cause, r.waits_for, r.tries, r.figures,
       ARRAY(SELECT a.actor FROM control.approval AS a
             WHERE a.request = r.id ORDER BY a.position) AS approved_by
FROM control.request AS r
WHERE r.usage_point = %(usage_point)s
ORDER BY r.created_at DESC, r.id DESC
LIMIT 50;

-- same_refusal
-- The newest request of a supply when it was refused for this cause at this epoch, or none.
SELECT r.id
FROM (
    SELECT q.id, q.state, q.cause, q.epoch, q.requested_by
    FROM control.request AS q
    WHERE q.usage_point = %(usage_point)s
    ORDER BY q.created_at DESC, q.id DESC
    LIMIT 1
) AS r
WHERE r.state = 'refused' AND r.cause = %(cause)s AND r.epoch = %(epoch)s
  AND r.requested_by = %(requested_by)s;

-- requests_in
-- Requests in one state, oldest first, with the usage point to lock; no locks.
SELECT r.id, r.usage_point
FROM control.request AS r
WHERE r.state = %(state)s
ORDER BY r.created_at, r.id
LIMIT 200;

-- requests_lapsed
-- Requests past their validity that were never ordered; no locks.
SELECT r.id, r.usage_point
FROM control.request AS r
WHERE r.state IN ('requested', 'approved_1', 'approved_2', 'rechecked')
  AND r.expires_at <= %(now)s
ORDER BY r.created_at
LIMIT 200;

-- rechecks
-- What two people approved and billing has not confirmed, oldest first; no locks.
SELECT r.id, r.usage_point, r.epoch, r.requested_by, r.reason, r.figures
FROM control.request AS r
WHERE r.state = 'approved_2'
ORDER BY r.created_at, r.id
LIMIT 500;

-- insert_approval
-- One row; the trigger locks the request.
INSERT INTO control.approval (request, position, actor, at)
VALUES (%(request)s, %(position)s, %(actor)s, %(now)s);

-- move_request
-- One row, locked by the caller through its supply.
UPDATE control.request AS r
SET state = %(state)s, cause = %(cause)s, waits_for = '',
    ordered_at = CASE WHEN %(state)s = 'ordered' THEN %(now)s ELSE r.ordered_at END,
    final_at = CASE WHEN %(state)s IN ('cut', 'failed', 'refused', 'cancelled')
                    THEN %(now)s ELSE NULL END
WHERE r.id = %(request)s AND r.state = %(before)s
RETURNING r.id;

-- set_rechecked
-- One row, locked by the caller.
UPDATE control.request AS r
SET rechecked_at = %(now)s, recheck_figures = %(figures)s, recheck_until = %(until)s
WHERE r.id = %(request)s;

-- set_waits_for
-- One row, only when it changes.
UPDATE control.request AS r
SET waits_for = %(cause)s
WHERE r.id = %(request)s AND r.waits_for <> %(cause)s
RETURNING r.id;

-- add_tries
-- One row, locked by the caller.
UPDATE control.request AS r
SET tries = r.tries + %(tries)s
WHERE r.id = %(request)s
RETURNING r.tries;

-- cut_board
-- Open requests, then the newest ended ones, with the switch and the interlock; no locks.
SELECT r.id, r.usage_point, r.state, r.requested_by, r.reason, r.epoch, r.created_at,
       r.expires_at, r.rechecked_at, r.recheck_until, r.cause, r.waits_for, r.tries, r.figures,
       ARRAY(SELECT a.actor FROM control.approval AS a
             WHERE a.request = r.id ORDER BY a.position) AS approved_by,
       s.relay_state, s.protected,
       coalesce((SELECT p.reason FROM control.protection AS p
                 WHERE p.ended_at IS NULL
                   AND ((p.level = 'usage_point' AND p.target = s.usage_point)
                     OR (p.level = 'transformer' AND p.target = s.transformer)
                     OR (p.level = 'feeder' AND p.target = s.feeder))
                 ORDER BY p.id LIMIT 1), '') AS protection_reason,
       (SELECT h.halted FROM control.halt AS h) AS halted,
       c.id AS command, coalesce(c.state, '') AS command_state
FROM control.request AS r
JOIN control.supply_state AS s ON s.usage_point = r.usage_point
LEFT JOIN LATERAL (
    SELECT o.id, o.state FROM control.command AS o
    WHERE o.request = r.id ORDER BY o.lock_seq DESC LIMIT 1
) AS c ON true
ORDER BY r.final_at IS NOT NULL, r.created_at DESC, r.id DESC
LIMIT %(limit)s;

-- insert_outcome
-- One row.
INSERT INTO control.outcome (usage_point, request, command, verb, result, cause, at)
VALUES (%(usage_point)s, %(request)s, %(command)s, %(verb)s, %(result)s, %(cause)s, %(now)s);

-- outcomes_after
-- Outcomes whose neighbours before them are all committed, so that a reader by seq misses none.
SELECT o.seq, o.usage_point, o.request, o.command, o.verb, o.result, o.cause, o.at,
       coalesce(r.state, '') AS request_state
FROM control.outcome AS o
LEFT JOIN control.request AS r ON r.id = o.request
WHERE o.seq > %(seq)s AND o.txid < pg_snapshot_xmin(pg_current_snapshot())
ORDER BY o.seq
LIMIT %(limit)s;
