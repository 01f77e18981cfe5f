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

-- blocking_findings
-- Blocking findings that are open on days between two, by place of what is asked. No locks.
SELECT k.n - 1 AS place, x.kind, x.day, coalesce(x.allowed, 0) AS allowed
FROM unnest(%(usage_points)s::text[], %(firsts)s::date[], %(lasts)s::date[])
     WITH ORDINALITY AS k (usage_point, first, last, n)
JOIN vee.exception AS x
  ON x.usage_point = k.usage_point AND x.day BETWEEN k.first AND k.last
WHERE x.severity = 'blocking' AND x.closed_at IS NULL
ORDER BY k.n, x.day, x.kind;

-- unsound_time
-- Milliseconds between two days that are missing, estimated or doubted, by place of what is asked;
-- but days of which two people have accepted that. No locks.
SELECT k.n - 1 AS place,
       sum((d.missing + d.estimated + d.suspect)::bigint * d.seconds * 1000)::bigint AS unsound_ms
FROM unnest(%(usage_points)s::text[], %(firsts)s::date[], %(lasts)s::date[])
     WITH ORDINALITY AS k (usage_point, first, last, n)
JOIN vee.day AS d ON d.usage_point = k.usage_point AND d.day BETWEEN k.first AND k.last
WHERE NOT EXISTS (SELECT FROM vee.day AS y WHERE y.usage_point = d.usage_point AND y.day = d.day
                  AND y.seconds = d.seconds AND y.version > d.version)
  AND NOT EXISTS (SELECT FROM vee.exception AS x WHERE x.usage_point = d.usage_point
                  AND x.day = d.day AND x.kind = 'billing_gate' AND x.closed_at IS NOT NULL
                  AND x.closed_by NOT LIKE 'system:%%')
GROUP BY k.n;

-- lock_blocking
-- Blocking findings of one usage point that are open on days between two, with their row locks.
SELECT x.id, x.kind, x.day FROM vee.exception AS x
WHERE x.usage_point = %(usage_point)s AND x.day BETWEEN %(first)s AND %(last)s
  AND x.severity = 'blocking' AND x.closed_at IS NULL
ORDER BY x.id FOR UPDATE;
