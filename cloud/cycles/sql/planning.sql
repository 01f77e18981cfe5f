-- upsert_route
-- One row.
INSERT INTO cycles.route (id, unit, name, zone, opens_day, reading_days, sales_after,
                          collection_after, every_months, from_month)
VALUES (%(id)s, %(unit)s, %(name)s, %(zone)s, %(opens_day)s, %(reading_days)s, %(sales_after)s,
        %(collection_after)s, %(every_months)s, %(from_month)s)
ON CONFLICT (id) DO UPDATE
SET unit = excluded.unit, name = excluded.name, zone = excluded.zone,
    opens_day = excluded.opens_day, reading_days = excluded.reading_days,
    sales_after = excluded.sales_after, collection_after = excluded.collection_after,
    every_months = excluded.every_months, from_month = excluded.from_month;

-- routes
-- Every route, or those named.
SELECT r.id, r.unit, r.name, r.zone, r.opens_day, r.reading_days, r.sales_after,
       r.collection_after, r.every_months, r.from_month
FROM cycles.route AS r
WHERE %(ids)s::text[] IS NULL OR r.id = ANY (%(ids)s::text[])
ORDER BY r.id;

-- leave_route
-- The points that are on a route now, before its order is written anew.
DELETE FROM cycles.route_point AS p WHERE p.route = %(route)s;

-- place_points
-- Points in walking order; one that stood on another route moves to this one.
INSERT INTO cycles.route_point (usage_point, route, position)
SELECT k.usage_point, %(route)s, k.n::integer
FROM unnest(%(usage_points)s::text[]) WITH ORDINALITY AS k (usage_point, n)
ON CONFLICT (usage_point) DO UPDATE SET route = excluded.route, position = excluded.position;

-- points_of_route
-- The points of a route in walking order.
SELECT p.usage_point FROM cycles.route_point AS p WHERE p.route = %(route)s ORDER BY p.position;

-- upsert_reader
-- One row.
INSERT INTO cycles.reader (id, name, login, unit, daily, on_duty)
VALUES (%(id)s, %(name)s, %(login)s, %(unit)s, %(daily)s, %(on_duty)s)
ON CONFLICT (id) DO UPDATE
SET name = excluded.name, login = excluded.login, unit = excluded.unit, daily = excluded.daily,
    on_duty = excluded.on_duty;

-- readers
-- The readers of a unit, or all.
SELECT r.id, r.name, r.login, r.unit, r.daily, r.on_duty
FROM cycles.reader AS r
WHERE %(unit)s::text IS NULL OR r.unit = %(unit)s::text
ORDER BY r.id;

-- set_holidays
-- Days of a unit on which nobody works; a known day gets its new name.
INSERT INTO cycles.holiday (unit, day, name)
SELECT %(unit)s, k.day, k.name
FROM unnest(%(days)s::date[], %(names)s::text[]) AS k (day, name)
ON CONFLICT (unit, day) DO NOTHING;

-- holidays
-- The days of a unit on which nobody works.
SELECT h.day FROM cycles.holiday AS h WHERE h.unit = %(unit)s ORDER BY h.day;

-- plan_cycles
-- One row a period; one that is planned already keeps its days.
INSERT INTO cycles.cycle (route, period, opens, due, sales, collection)
SELECT %(route)s, k.period, k.opens, k.due, k.sales, k.collection
FROM unnest(%(period)s::text[], %(opens)s::date[], %(due)s::date[], %(sales)s::date[],
            %(collection)s::date[]) AS k (period, opens, due, sales, collection)
ON CONFLICT (route, period) DO NOTHING;

-- cycles
-- Cycles of a route or of all, newest first.
SELECT c.id, c.route, c.period, c.opens, c.due, c.sales, c.collection, c.state, c.opened_by,
       c.closed_by, c.closed_at
FROM cycles.cycle AS c
WHERE (%(route)s::text IS NULL OR c.route = %(route)s::text)
  AND (%(state)s::text IS NULL OR c.state = %(state)s::text)
ORDER BY c.opens DESC, c.id DESC
LIMIT %(limit)s;

-- cycle
-- One row or none.
SELECT c.id, c.route, c.period, c.opens, c.due, c.sales, c.collection, c.state, c.opened_by,
       c.closed_by, c.closed_at
FROM cycles.cycle AS c
WHERE c.id = %(cycle)s;

-- lock_cycle
-- One row or none; takes its lock.
SELECT c.id FROM cycles.cycle AS c WHERE c.id = %(cycle)s FOR UPDATE;

-- move_cycle
-- One row, locked by the caller.
UPDATE cycles.cycle AS c
SET state = %(state)s,
    opened_by = CASE WHEN %(state)s = 'open' THEN %(actor)s ELSE c.opened_by END,
    closed_by = CASE WHEN %(state)s = 'closed' THEN %(actor)s ELSE c.closed_by END,
    closed_at = CASE WHEN %(state)s = 'closed' THEN %(now)s::timestamptz ELSE c.closed_at END
WHERE c.id = %(cycle)s;
