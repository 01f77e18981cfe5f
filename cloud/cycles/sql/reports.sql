-- states_of_cycle
-- How many tasks of a cycle stand in each state.
SELECT t.state, count(*) FROM cycles.task AS t WHERE t.cycle = %(cycle)s GROUP BY t.state;

-- work_of_cycle
-- What each reader did in a cycle; NULL is what nobody was given.
SELECT t.reader, count(*),
       count(*) FILTER (WHERE t.state = 'read'),
       count(*) FILTER (WHERE t.state = 'read' AND t.read_at < %(due)s),
       count(*) FILTER (WHERE t.state = 'unread'),
       count(*) FILTER (WHERE t.state = 'in_review'),
       count(*) FILTER (WHERE x.doubted), count(*) FILTER (WHERE y.rejected),
       count(*) FILTER (WHERE x.pictured)
FROM cycles.task AS t
CROSS JOIN LATERAL (
    SELECT coalesce(bool_or(cardinality(e.doubts) > 0), false) AS doubted,
           coalesce(bool_or(e.photo <> ''), false) AS pictured
    FROM cycles.entry AS e WHERE e.task = t.id
) AS x
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT 1 FROM cycles.decision AS d
                   WHERE d.task = t.id AND d.event = 'reject') AS rejected
) AS y
WHERE t.cycle = %(cycle)s
GROUP BY t.reader
ORDER BY t.reader NULLS LAST;

-- misses_of_cycle
-- Why tasks of a cycle are unread.
SELECT t.miss, count(*) FROM cycles.task AS t
WHERE t.cycle = %(cycle)s AND t.miss IS NOT NULL
GROUP BY t.miss ORDER BY t.miss;

-- figures_of_cycle
-- Tasks with a figure: source, the figure before, the figure, and whose it is.
SELECT t.source, t.last_wh, t.read_wh, t.meter
FROM cycles.task AS t
WHERE t.cycle = %(cycle)s AND t.state = 'read';

-- tasks_of_point
-- The tasks of one usage point, newest cycle first: where a figure came from.
SELECT t.id, t.cycle, t.position, t.usage_point, t.meter, t.concentrator, t.reader, t.state,
       t.last_at, t.last_wh, t.daily_wh, t.read_at, t.read_wh, t.source, t.miss, t.doubts
FROM cycles.task AS t
WHERE t.usage_point = %(usage_point)s
ORDER BY t.cycle DESC
LIMIT 24;

-- delivery_of_entry
-- Where ingest got a figure, or none.
SELECT d.concentrator, d.seq, d.delivered_at, d.believed
FROM cycles.delivery AS d
WHERE d.task = %(task)s AND d.key = %(key)s;

-- waiting_of_cycle
-- How many believed figures of a cycle are on their way.
SELECT count(*)
FROM cycles.delivery AS d
JOIN cycles.task AS t ON t.id = d.task
WHERE t.cycle = %(cycle)s AND d.delivered_at IS NULL;

-- read_spans
-- From one figure to the next: tasks of closed cycles with both, of the points, cycles and time
-- named (NULL: any), by point and cycle.
SELECT t.usage_point, t.cycle, t.last_at, t.read_at
FROM cycles.task AS t
JOIN cycles.cycle AS c ON c.id = t.cycle
WHERE c.state = 'closed' AND t.state = 'read' AND t.last_at < t.read_at
  AND (%(usage_points)s::text[] IS NULL OR t.usage_point = ANY (%(usage_points)s::text[]))
  AND (%(cycles)s::bigint[] IS NULL OR t.cycle = ANY (%(cycles)s::bigint[]))
  AND (%(since)s::timestamptz IS NULL OR t.read_at > %(since)s::timestamptz)
  AND (%(until)s::timestamptz IS NULL OR t.last_at < %(until)s::timestamptz)
ORDER BY t.usage_point, t.cycle;
