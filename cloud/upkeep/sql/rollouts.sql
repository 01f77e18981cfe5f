-- insert_rollout
-- One row.
INSERT INTO upkeep.rollout
    (kind, state, requested_by, reason, requested_at, first_targets, success_permille, most_open,
     until, settings, image, activate, activate_at)
VALUES
    (%(kind)s, 'asked', %(requested_by)s, %(reason)s, %(now)s, %(first)s, %(success_permille)s,
     %(most_open)s, %(until)s, %(settings)s, %(image)s, %(activate)s, %(activate_at)s)
RETURNING id;

-- rollout
-- One row or none; locked, for its state decides what its errands may do.
SELECT r.id, r.kind, r.state, r.cause, r.requested_by, r.reason, r.requested_at, r.approved_by,
       r.until, r.first_targets, r.success_permille, r.most_open, r.settings, r.image, r.activate,
       r.activate_at, r.ended_at
FROM upkeep.rollout AS r
WHERE r.id = %(rollout)s
FOR UPDATE;

-- rollouts
-- The newest ones; no locks.
SELECT r.id, r.kind, r.state, r.cause, r.requested_by, r.reason, r.requested_at, r.approved_by,
       r.until, r.first_targets, r.success_permille, r.most_open, r.settings, r.image, r.activate,
       r.activate_at, r.ended_at
FROM upkeep.rollout AS r
ORDER BY r.requested_at DESC, r.id DESC
LIMIT %(most)s;

-- open_rollouts
-- Rollouts that have not ended, oldest first; no locks.
SELECT r.id
FROM upkeep.rollout AS r
WHERE r.ended_at IS NULL
ORDER BY r.requested_at, r.id
LIMIT 1000;

-- set_rollout_state
-- One row or none, when it is in the state the caller saw.
UPDATE upkeep.rollout AS r
SET state = %(state)s, cause = %(cause)s, ended_at = %(ended_at)s
WHERE r.id = %(rollout)s AND r.state = %(before)s
RETURNING r.id;

-- set_approved
-- One row or none, when nobody has approved it.
UPDATE upkeep.rollout AS r
SET approved_by = %(actor)s, approved_at = %(now)s
WHERE r.id = %(rollout)s AND r.approved_by IS NULL
RETURNING r.id;
