-- cuts_after_payment
-- C1: cuts ordered or let go, by lock order, after the fence was raised above their epoch.
SELECT c.id
FROM control.command AS c
LEFT JOIN control.go AS g ON g.command = c.id
WHERE c.verb = 'disconnect'
  AND EXISTS (
      SELECT 1 FROM control.supply_event AS e
      WHERE e.usage_point = c.usage_point AND e.epoch > c.epoch
        AND (e.lock_seq < c.lock_seq OR e.lock_seq < g.release_seq)
  )
ORDER BY c.id;

-- cuts_of_protected
-- C2: cuts ordered or let go while the last word before them was that the supply is protected.
SELECT c.id
FROM control.command AS c
LEFT JOIN control.go AS g ON g.command = c.id
CROSS JOIN LATERAL (
    SELECT e.protected FROM control.supply_event AS e
    WHERE e.usage_point = c.usage_point AND e.lock_seq < coalesce(g.release_seq, c.lock_seq)
    ORDER BY e.lock_seq DESC LIMIT 1
) AS last
WHERE c.verb = 'disconnect' AND last.protected
ORDER BY c.id;

-- cuts_without_two
-- C3: cuts without two different approvers who are users and not the one who asked; meters that
-- were let trip again without a second person.
SELECT c.id
FROM control.command AS c
LEFT JOIN control.request AS r ON r.id = c.request
WHERE c.verb = 'disconnect' AND 2 > (
    SELECT count(DISTINCT lower(a.actor)) FROM control.approval AS a
    WHERE a.request = c.request AND starts_with(a.actor, 'user:')
      AND lower(a.actor) <> lower(r.requested_by)
)
UNION
SELECT c.id
FROM control.command AS c
LEFT JOIN control.keep_release AS k ON k.id = c.keep_release
WHERE c.verb = 'end_keep_power'
  AND (k.approved_by IS NULL OR lower(k.approved_by) = lower(k.requested_by))
ORDER BY 1;

-- foreign_acts
-- C4: cuts that began without a released go, or that a stray ack says were carried out; tokens
-- that went into a meter twice.
SELECT k.id
FROM control.ack AS k
JOIN control.command AS c ON c.id = k.id
LEFT JOIN control.go AS g ON g.command = k.id
WHERE c.verb = 'disconnect' AND k.stage = 'started' AND g.released_at IS NULL
UNION
SELECT s.id FROM control.stray_ack AS s WHERE s.stage IN ('started', 'done', 'armed')
UNION
SELECT max(c.id)
FROM control.command AS c
JOIN control.ack AS k ON k.id = c.id AND k.stage = 'done'
WHERE c.token IS NOT NULL
GROUP BY c.token HAVING count(*) > 1
ORDER BY 1;

-- commands_without_end
-- C5: commands that should have ended and have not, or whose outcome is not the one of their row.
SELECT c.id
FROM control.command AS c
WHERE c.ended_at IS NULL AND coalesce(c.expires, c.issued_at) < %(ended_by)s
UNION
SELECT c.id
FROM control.command AS c
LEFT JOIN control.outcome AS o ON o.command = c.id
WHERE c.ended_at IS NOT NULL AND o.result IS DISTINCT FROM c.state
UNION
SELECT c.id
FROM control.command AS c
JOIN control.ack AS k ON k.id = c.id AND k.stage IN ('done', 'armed', 'failed')
WHERE c.state IN ('done', 'armed', 'failed') AND k.stage <> c.state
ORDER BY 1;

-- cuts_over_limit
-- C6: cuts ordered when the limits of that moment had nothing left.
SELECT c.id
FROM control.command AS c
WHERE c.verb = 'disconnect' AND coalesce(c.cuts_left, 0) < 1
ORDER BY c.id;

-- paid_without_power
-- C7: power owed for too long with no reconnect under way and nobody told.
SELECT s.usage_point
FROM control.supply_state AS s
WHERE s.restore_due_at < %(due_by)s AND s.restore_alarmed_at IS NULL
  AND s.relay_state NOT IN ('connected', 'armed')
  AND NOT EXISTS (
      SELECT 1 FROM control.command AS c
      WHERE c.usage_point = s.usage_point AND c.verb = 'reconnect' AND c.ended_at IS NULL
  )
ORDER BY s.usage_point;

-- acts_without_audit
-- S2: commands, ends of commands and approvals that stand in no audit event.
SELECT c.id
FROM control.command AS c
WHERE NOT EXISTS (
    SELECT 1 FROM audit.event AS e
    WHERE e.entity = 'command' AND e.entity_id = c.id AND e.action = 'command.issue'
)
UNION
SELECT c.id
FROM control.command AS c
WHERE c.ended_at IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM audit.event AS e
    WHERE e.entity = 'command' AND e.entity_id = c.id AND e.action = 'command.' || c.state
)
UNION
SELECT a.request
FROM control.approval AS a
WHERE NOT EXISTS (
    SELECT 1 FROM audit.event AS e
    WHERE e.entity = 'request' AND e.entity_id = a.request AND e.action = 'request.approve'
      AND e.actor = a.actor
)
UNION
SELECT k.id
FROM control.keep_release AS k
WHERE k.approved_by IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM audit.event AS e
    WHERE e.entity = 'keep_release' AND e.entity_id = k.id AND e.action = 'keep_release.approve'
      AND e.actor = k.approved_by
)
ORDER BY 1;

-- newest_act
-- The latest business instant that an audit event knows, or none.
SELECT max(e.at) FROM audit.event AS e;
