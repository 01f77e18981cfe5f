-- segments
-- The segments that stood of the usage points named at a time of knowledge, NULL is now; 2^42 - 1
-- ms stands for ever.
SELECT k.n - 1, s.meter, (extract(epoch FROM s.since) * 1000)::bigint,
       CASE WHEN s.until = 'infinity' THEN 4398046511103
            ELSE (extract(epoch FROM s.until) * 1000)::bigint END,
       s.offset_wh, s.numerator, s.denominator, s.capacity_w
FROM unnest(%(usage_points)s::text[]) WITH ORDINALITY AS k (usage_point, n)
JOIN usage.segment AS s ON s.usage_point = k.usage_point
WHERE s.void_at IS NULL;

-- segments_then
-- The segments that stood of the usage points named at a time of knowledge.
SELECT k.n - 1, s.meter, (extract(epoch FROM s.since) * 1000)::bigint,
       CASE WHEN s.until = 'infinity' THEN 4398046511103
            ELSE (extract(epoch FROM s.until) * 1000)::bigint END,
       s.offset_wh, s.numerator, s.denominator, s.capacity_w
FROM unnest(%(usage_points)s::text[]) WITH ORDINALITY AS k (usage_point, n)
JOIN usage.segment AS s ON s.usage_point = k.usage_point
WHERE s.known_at <= %(as_of)s::timestamptz
  AND (s.void_at IS NULL OR s.void_at > %(as_of)s::timestamptz);

-- points_with_segments
-- Every usage point of which a segment stands; no locks.
SELECT DISTINCT s.usage_point FROM usage.segment AS s
WHERE s.void_at IS NULL ORDER BY s.usage_point;

-- void_segments
-- The segments of the usage points named speak no more. Locks their rows.
UPDATE usage.segment AS s SET void_at = %(now)s
WHERE s.usage_point = ANY (%(usage_points)s) AND s.void_at IS NULL;

-- insert_segments
-- New segments of points that have none that stands.
INSERT INTO usage.segment (usage_point, meter, since, until, offset_wh, numerator, denominator,
                           capacity_w, lone, known_at)
SELECT k.usage_point, k.meter, 'epoch'::timestamptz + k.since_ms * interval '1 millisecond',
       CASE WHEN k.until_ms = 4398046511103 THEN 'infinity'
            ELSE 'epoch'::timestamptz + k.until_ms * interval '1 millisecond' END,
       k.offset_wh, k.numerator, k.denominator, k.capacity_w, k.lone, %(now)s
FROM unnest(%(usage_point)s::text[], %(meter)s::text[], %(since_ms)s::bigint[],
            %(until_ms)s::bigint[], %(offset_wh)s::bigint[], %(numerator)s::integer[],
            %(denominator)s::integer[], %(capacity_w)s::bigint[], %(lone)s::boolean[])
     AS k (usage_point, meter, since_ms, until_ms, offset_wh, numerator, denominator, capacity_w,
           lone);

-- lock_points
-- Advisory locks until commit, in order, of the parts of the network that the usage points named
-- fall into: nobody else makes their segments meanwhile. Parts, because a server has room for few.
SELECT pg_advisory_xact_lock(730521, w.part)
FROM (
    SELECT DISTINCT hashtext(k.usage_point) & 255 AS part
    FROM unnest(%(usage_points)s::text[]) AS k (usage_point)
    ORDER BY part
) AS w;

-- lock_newest
-- The newest registers of the usage points named, locked in order until commit.
SELECT n.point FROM usage.newest AS n
WHERE n.usage_point = ANY (%(usage_points)s)
ORDER BY n.usage_point FOR UPDATE;

-- standing
-- The segments that stand of each meter named, oldest first, and the newest register of their usage
-- point: each column as one string of octets; no locks.
SELECT string_agg(int8send(w.n), ''), string_agg(int8send(w.since_ms), ''),
       string_agg(int8send(w.until_ms), ''), string_agg(int8send(w.offset_wh), ''),
       string_agg(int8send(w.numerator), ''), string_agg(int8send(w.denominator), ''),
       string_agg(int8send(w.capacity_w), ''), string_agg(int8send(w.flags), ''),
       string_agg(int8send(w.point), ''), string_agg(int8send(w.at_ms), ''),
       string_agg(int8send(w.cumulative_wh), ''), string_agg(int8send(w.wh), ''), string_agg(int8send(w.quality), ''),
       string_agg(int8send(w.day_ms), ''), string_agg(int8send(w.opening_wh), '')
FROM (
    SELECT k.n - 1 AS n, (extract(epoch FROM s.since) * 1000)::bigint AS since_ms,
           CASE WHEN s.until = 'infinity' THEN 4398046511103
                ELSE (extract(epoch FROM s.until) * 1000)::bigint END AS until_ms,
           s.offset_wh, s.numerator::bigint AS numerator, s.denominator::bigint AS denominator,
           s.capacity_w,
           (s.lone::integer + 2 * (e.meter = k.meter)::integer + 4 * e.overlaid::integer
            + 8 * (s.usage_point = k.usage_point)::integer)::bigint AS flags,
           e.point, e.at_ms, e.cumulative_wh, e.wh, e.quality::bigint AS quality, e.day_ms, e.opening_wh
    FROM unnest(%(meters)s::text[], %(points)s::text[]) WITH ORDINALITY AS k (meter, usage_point, n)
    JOIN usage.segment AS s ON s.meter = k.meter AND s.void_at IS NULL
    JOIN usage.newest AS e ON e.usage_point = s.usage_point
    ORDER BY k.n, s.since
) AS w;

-- turns
-- The stamps of the concentrators named; the caller holds their locks.
SELECT t.concentrator, t.stamp FROM usage.turn AS t
WHERE t.concentrator = ANY (%(concentrators)s::text[]);

-- turn
-- One row each, inserted or replaced; the caller holds the locks of the concentrators.
INSERT INTO usage.turn AS t (concentrator, stamp)
SELECT k.concentrator, k.stamp FROM unnest(%(concentrator)s::text[], %(stamp)s::bigint[])
     AS k (concentrator, stamp)
ORDER BY k.concentrator
ON CONFLICT (concentrator) DO UPDATE SET stamp = excluded.stamp;
