-- queue
-- Exceptions of a state, gravest first, then oldest; a NULL filter means any. No locks.
SELECT x.id, x.kind, x.meter, x.usage_point, x.channel, x.range_start, x.range_end, x.detail,
       x.opened_at, x.closed_at, x.severity, x.day, x.places, x.value, x.allowed, x.unit,
       x.rule_set, x.parameters, x.assigned_to, x.closed_by, x.close_reason, x.reopened
FROM vee.exception AS x
WHERE (x.closed_at IS NULL) = %(open)s
  AND (%(kind)s::text IS NULL OR x.kind = %(kind)s::text)
  AND (%(severity)s::text IS NULL OR x.severity = %(severity)s::text)
  AND (%(usage_points)s::text[] IS NULL OR x.usage_point = ANY (%(usage_points)s::text[]))
  AND (%(assigned_to)s::text IS NULL OR x.assigned_to = %(assigned_to)s::text)
  AND (%(opened_before)s::timestamptz IS NULL OR x.opened_at < %(opened_before)s::timestamptz)
ORDER BY array_position('{blocking,error,warning}'::text[], x.severity), x.opened_at, x.id
LIMIT %(limit)s;

-- lock_exception
-- One exception and its row lock, or none.
SELECT x.id, x.kind, x.meter, x.usage_point, x.channel, x.range_start, x.range_end, x.detail,
       x.opened_at, x.closed_at, x.severity, x.day, x.places, x.value, x.allowed, x.unit,
       x.rule_set, x.parameters, x.assigned_to, x.closed_by, x.close_reason, x.reopened
FROM vee.exception AS x WHERE x.id = %(id)s FOR UPDATE;

-- assign_exception
-- One row, locked by the caller.
UPDATE vee.exception AS x SET assigned_to = %(assigned_to)s, assigned_at = %(now)s
WHERE x.id = %(id)s;

-- settle_exception
-- One row, locked by the caller.
UPDATE vee.exception AS x
SET closed_at = %(now)s, closed_by = %(actor)s, close_reason = %(reason)s
WHERE x.id = %(id)s;

-- queue_counts
-- Open exceptions by severity and kind, and since when the oldest is open.
SELECT x.severity, x.kind, count(*) AS n, min(x.opened_at) AS oldest
FROM vee.exception AS x WHERE x.closed_at IS NULL
GROUP BY x.severity, x.kind ORDER BY x.severity, x.kind;

-- blocked_points
-- Usage points named of which a blocking finding is open on a day between two.
SELECT DISTINCT x.usage_point
FROM vee.exception AS x
WHERE x.usage_point = ANY (%(usage_points)s) AND x.day BETWEEN %(first)s AND %(last)s
  AND x.severity = 'blocking' AND x.closed_at IS NULL;
