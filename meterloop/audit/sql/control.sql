-- c1_go_after_payment
-- One text per violation, no locks: a cut released after the fence had risen above its epoch.
SELECT c.id || ' of ' || c.usage_point AS example
FROM control.go AS g
JOIN control.command AS c ON c.id = g.command
WHERE g.release_seq IS NOT NULL AND EXISTS (
    SELECT 1 FROM control.supply_event AS e
    WHERE e.usage_point = c.usage_point AND e.epoch > c.epoch AND e.lock_seq < g.release_seq
);

-- c1_command_after_payment
-- One text per violation, no locks: a cut inserted after the fence had risen above its epoch.
SELECT c.id || ' of ' || c.usage_point AS example
FROM control.command AS c
WHERE c.verb = 'disconnect' AND EXISTS (
    SELECT 1 FROM control.supply_event AS e
    WHERE e.usage_point = c.usage_point AND e.epoch > c.epoch AND e.lock_seq < c.lock_seq
);

-- c2_cut_of_protected
-- One text per violation, no locks: a cut inserted or released while the supply was protected.
SELECT acted.command || ' of ' || acted.usage_point AS example
FROM (
    SELECT c.id AS command, c.usage_point, c.lock_seq AS seq
    FROM control.command AS c WHERE c.verb = 'disconnect'
    UNION ALL
    SELECT c.id, c.usage_point, g.release_seq
    FROM control.go AS g JOIN control.command AS c ON c.id = g.command
    WHERE g.release_seq IS NOT NULL
) AS acted
JOIN LATERAL (
    SELECT e.protected FROM control.supply_event AS e
    WHERE e.usage_point = acted.usage_point AND e.lock_seq < acted.seq
    ORDER BY e.lock_seq DESC LIMIT 1
) AS before ON true
WHERE before.protected;

-- c3_cut_without_two_people
-- One text per violation, no locks.
SELECT c.id || ' of ' || c.usage_point AS example
FROM control.command AS c
LEFT JOIN control.request AS r ON r.id = c.request
WHERE c.verb = 'disconnect' AND (
    r.id IS NULL OR 2 > (
        SELECT count(DISTINCT lower(a.actor)) FROM control.approval AS a
        WHERE a.request = r.id AND a.actor LIKE 'user:%%'
          AND lower(a.actor) <> lower(r.requested_by)
    )
);

-- c4_unsigned_or_stale
-- One text per violation, no locks: what acted though unsigned, or whose go came too late.
SELECT c.id || ' of ' || c.usage_point AS example
FROM control.command AS c
LEFT JOIN control.go AS g ON g.command = c.id
WHERE (c.dispatched_at IS NOT NULL AND c.signature IS NULL)
   OR (c.verb = 'disconnect' AND c.state = 'done' AND g.released_at IS NULL)
   OR (g.released_at IS NOT NULL AND c.expires IS NOT NULL AND g.made_at > c.expires);

-- c5_commands_without_one_outcome
-- One text per violation, no locks: ended without exactly one outcome, or open past its expiry.
SELECT c.id || ' of ' || c.usage_point || ': ' || c.state AS example
FROM control.command AS c
LEFT JOIN (
    SELECT o.command, count(*) AS ends FROM control.outcome AS o
    WHERE o.command IS NOT NULL GROUP BY o.command
) AS told ON told.command = c.id
WHERE (c.ended_at IS NOT NULL AND coalesce(told.ends, 0) <> 1)
   OR (c.ended_at IS NULL AND (told.ends > 0 OR c.expires < %(overdue)s));

-- c6_days_over_the_limit
-- One text per violation, no locks: cuts of a day, or of a transformer's day, above the policy.
SELECT 'day ' || counted.local_day || coalesce(' transformer ' || counted.transformer, '')
       || ': ' || counted.cuts AS example
FROM (
    SELECT c.local_day, c.transformer, count(*) AS cuts
    FROM control.command AS c
    WHERE c.verb = 'disconnect' AND c.local_day IS NOT NULL
    GROUP BY GROUPING SETS ((c.local_day), (c.local_day, c.transformer))
) AS counted
CROSS JOIN control.policy AS p
WHERE counted.cuts > CASE WHEN counted.transformer IS NULL
    THEN p.max_cuts_per_day ELSE p.max_cuts_per_transformer_day END;

-- c7_paid_but_dark
-- One text per violation, no locks: cut for arrears, no longer below the line, and neither a
-- command nor a work order is under way.
SELECT s.usage_point || ': ' || s.relay_state AS example
FROM control.supply_state AS s
JOIN prepaid.state AS b ON b.usage_point = s.usage_point
WHERE s.relay_state = 'disconnected' AND s.cut_for_arrears AND NOT b.below_cut
  AND NOT EXISTS (
      SELECT 1 FROM control.command AS c
      WHERE c.usage_point = s.usage_point AND c.ended_at IS NULL)
  AND NOT EXISTS (
      SELECT 1 FROM work.order AS w
      WHERE w.usage_point = s.usage_point AND w.kind = 'restore_failure'
        AND w.state IN ('raised', 'assigned'));

-- commands_with_ends
-- One row per ended command, no locks: what it was, when, and how it ended.
SELECT c.id, c.meter, c.usage_point, c.verb, o.result,
       (extract(epoch FROM c.issued_at) * 1000)::bigint AS issued_ms,
       (extract(epoch FROM o.at) * 1000)::bigint AS ended_ms,
       g.released_at IS NOT NULL AS released
FROM control.command AS c
JOIN control.outcome AS o ON o.command = c.id
LEFT JOIN control.go AS g ON g.command = c.id
ORDER BY c.lock_seq;

-- released_cuts
-- One row per released cut, no locks: when each meter was allowed to open.
SELECT c.meter, (extract(epoch FROM g.released_at) * 1000)::bigint AS released_ms
FROM control.go AS g JOIN control.command AS c ON c.id = g.command
WHERE g.released_at IS NOT NULL
ORDER BY g.release_seq;

-- protected_meters
-- One row per meter at a protected usage point, no locks: since when.
SELECT n.meter, (extract(epoch FROM min(p.valid_from)) * 1000)::bigint AS since_ms
FROM control.protection AS p
JOIN control.supply_state AS s ON p.ended_at IS NULL AND (
    (p.level = 'usage_point' AND p.target = s.usage_point)
    OR (p.level = 'transformer' AND p.target = s.transformer)
    OR (p.level = 'feeder' AND p.target = s.feeder))
JOIN assets.installation AS n ON n.usage_point = s.usage_point AND n.removed_at IS NULL
GROUP BY n.meter;
