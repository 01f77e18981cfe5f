-- coverage_of
-- How far the intervals of each (meter, channel) named reach, by place; those unknown are left out.
SELECT k.n - 1 AS n, (extract(epoch FROM c.first_start) * 1000)::bigint,
       (extract(epoch FROM c.newest_start) * 1000)::bigint, c.seconds
FROM unnest(%(meter)s::text[], %(channel)s::smallint[]) WITH ORDINALITY AS k (meter, channel, n)
JOIN vee.coverage AS c ON c.meter = k.meter AND c.channel = k.channel;

-- upsert_coverage
-- One row per (meter, channel); the caller computed the union.
INSERT INTO vee.coverage (meter, channel, first_start, newest_start, seconds)
SELECT k.meter, k.channel, 'epoch'::timestamptz + k.first_ms * interval '1 millisecond',
       'epoch'::timestamptz + k.newest_ms * interval '1 millisecond', k.seconds
FROM unnest(%(meter)s::text[], %(channel)s::smallint[], %(first_ms)s::bigint[],
            %(newest_ms)s::bigint[], %(seconds)s::integer[])
     AS k (meter, channel, first_ms, newest_ms, seconds)
ON CONFLICT (meter, channel) DO UPDATE
SET first_start = excluded.first_start, newest_start = excluded.newest_start;

-- open_gaps
-- Open gaps of the meters named, in order.
SELECT x.id, x.meter, x.channel, (extract(epoch FROM x.range_start) * 1000)::bigint,
       (extract(epoch FROM x.range_end) * 1000)::bigint
FROM vee.exception AS x
WHERE x.kind = 'gap' AND x.closed_at IS NULL AND x.meter = ANY (%(meters)s)
ORDER BY x.meter, x.channel, x.range_start;

-- insert_exceptions
-- One row each; one that is open already is left alone.
INSERT INTO vee.exception (kind, meter, usage_point, channel, range_start, range_end, detail,
                           opened_at)
SELECT k.kind, k.meter, k.usage_point, k.channel,
       'epoch'::timestamptz + k.start_ms * interval '1 millisecond',
       'epoch'::timestamptz + k.end_ms * interval '1 millisecond', k.detail, %(opened_at)s
FROM unnest(%(kind)s::text[], %(meter)s::text[], %(usage_point)s::text[], %(channel)s::smallint[],
            %(start_ms)s::bigint[], %(end_ms)s::bigint[], %(detail)s::text[])
     AS k (kind, meter, usage_point, channel, start_ms, end_ms, detail)
ON CONFLICT DO NOTHING;

-- resize_gaps
-- Open gaps now cover other ranges.
UPDATE vee.exception AS x
SET range_start = 'epoch'::timestamptz + k.start_ms * interval '1 millisecond',
    range_end = 'epoch'::timestamptz + k.end_ms * interval '1 millisecond'
FROM unnest(%(id)s::bigint[], %(start_ms)s::bigint[], %(end_ms)s::bigint[])
     AS k (id, start_ms, end_ms)
WHERE x.id = k.id;

-- close_exceptions
-- The exceptions named end.
UPDATE vee.exception AS x SET closed_at = %(closed_at)s
WHERE x.id = ANY (%(ids)s) AND x.closed_at IS NULL;

-- open_exceptions
-- Open exceptions, oldest first; a NULL filter means any.
SELECT x.id, x.kind, x.meter, x.usage_point, x.channel, x.range_start, x.range_end, x.detail,
       x.opened_at, x.closed_at, x.severity, x.day, x.places, x.value, x.allowed, x.unit,
       x.rule_set, x.parameters, x.assigned_to, x.closed_by, x.close_reason, x.reopened
FROM vee.exception AS x
WHERE x.closed_at IS NULL
  AND (%(kind)s::text IS NULL OR x.kind = %(kind)s::text)
  AND (%(usage_point)s::text IS NULL OR x.usage_point = %(usage_point)s::text)
ORDER BY x.id;

-- exceptions_opened
-- Exceptions opened in [start, end), oldest first.
SELECT x.id, x.kind, x.meter, x.usage_point, x.channel, x.range_start, x.range_end, x.detail,
       x.opened_at, x.closed_at, x.severity, x.day, x.places, x.value, x.allowed, x.unit,
       x.rule_set, x.parameters, x.assigned_to, x.closed_by, x.close_reason, x.reopened
FROM vee.exception AS x
WHERE x.opened_at >= %(start)s AND x.opened_at < %(end)s
ORDER BY x.id;

-- slot_totals
-- Interval slots expected between the first and newest of every meter, and those in open gaps.
SELECT (SELECT coalesce(sum(extract(epoch FROM c.newest_start - c.first_start) / c.seconds + 1), 0)
        FROM vee.coverage AS c)::bigint AS expected,
       (SELECT coalesce(sum(extract(epoch FROM x.range_end - x.range_start) / c.seconds), 0)
        FROM vee.exception AS x
        JOIN vee.coverage AS c ON c.meter = x.meter AND c.channel = x.channel
        WHERE x.kind = 'gap' AND x.closed_at IS NULL)::bigint AS missing;
