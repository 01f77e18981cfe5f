-- insert_tasks
-- The list of a cycle, once; the caller holds the cycle's lock.
INSERT INTO cycles.task (cycle, position, usage_point, meter, concentrator, last_at, last_wh,
                         daily_wh)
SELECT %(cycle)s, k.position, k.usage_point, k.meter, k.concentrator, k.last_at, k.last_wh,
       k.daily_wh
FROM unnest(%(position)s::integer[], %(usage_point)s::text[], %(meter)s::text[],
            %(concentrator)s::text[], %(last_at)s::timestamptz[], %(last_wh)s::bigint[],
            %(daily_wh)s::bigint[])
     AS k (position, usage_point, meter, concentrator, last_at, last_wh, daily_wh)
ON CONFLICT (cycle, usage_point) DO NOTHING;

-- assign_tasks
-- Tasks get their readers; whoever is read already is left alone.
UPDATE cycles.task AS t
SET reader = k.reader, state = 'assigned'
FROM unnest(%(task)s::bigint[], %(reader)s::text[]) AS k (task, reader)
WHERE t.id = k.task AND t.cycle = %(cycle)s AND t.state IN ('listed', 'assigned');

-- tasks
-- The list of a cycle in walking order, of one reader or all, in one state or all.
SELECT t.id, t.cycle, t.position, t.usage_point, t.meter, t.concentrator, t.reader, t.state,
       t.last_at, t.last_wh, t.daily_wh, t.read_at, t.read_wh, t.source, t.miss, t.doubts
FROM cycles.task AS t
WHERE t.cycle = %(cycle)s
  AND (%(reader)s::text IS NULL OR t.reader = %(reader)s::text)
  AND (%(states)s::text[] IS NULL OR t.state = ANY (%(states)s::text[]))
ORDER BY t.position
LIMIT %(limit)s;

-- tasks_of_login
-- What one person has to read in open cycles, in walking order.
SELECT t.id, t.cycle, t.position, t.usage_point, t.meter, t.concentrator, t.reader, t.state,
       t.last_at, t.last_wh, t.daily_wh, t.read_at, t.read_wh, t.source, t.miss, t.doubts
FROM cycles.reader AS r
JOIN cycles.task AS t ON t.reader = r.id
JOIN cycles.cycle AS c ON c.id = t.cycle AND c.state = 'open'
WHERE r.login = %(login)s
ORDER BY c.due, t.cycle, t.position
LIMIT %(limit)s;

-- task
-- One row or none.
SELECT t.id, t.cycle, t.position, t.usage_point, t.meter, t.concentrator, t.reader, t.state,
       t.last_at, t.last_wh, t.daily_wh, t.read_at, t.read_wh, t.source, t.miss, t.doubts
FROM cycles.task AS t
WHERE t.id = %(task)s;

-- lock_task
-- One row or none; takes its lock, and the cycle's shared so that it cannot close meanwhile.
SELECT t.id
FROM cycles.task AS t
JOIN cycles.cycle AS c ON c.id = t.cycle
WHERE t.id = %(task)s
FOR UPDATE OF t FOR SHARE OF c;

-- lock_task_alone
-- One row or none; takes its lock. For who brings figures to ingest and may not touch cycles.
SELECT t.id FROM cycles.task AS t WHERE t.id = %(task)s FOR UPDATE;

-- put_task
-- One row, locked by the caller.
UPDATE cycles.task AS t
SET state = %(state)s, read_at = %(read_at)s, read_wh = %(read_wh)s, source = %(source)s,
    miss = %(miss)s, doubts = %(doubts)s
WHERE t.id = %(task)s;

-- insert_entry
-- One row; its key must be new for the task.
INSERT INTO cycles.entry (task, key, source, read_at, meter, wh, miss, observations, note, photo,
                          doubts, actor, entered_at)
VALUES (%(task)s, %(key)s, %(source)s, %(read_at)s, %(meter)s, %(wh)s, %(miss)s,
        %(observations)s, %(note)s, %(photo)s, %(doubts)s, %(actor)s, %(now)s);

-- entries_of_task
-- What came for a task, oldest first.
SELECT e.key, e.task, e.source, e.read_at, e.meter, e.wh, e.miss, e.observations, e.note, e.photo,
       e.doubts, e.actor, e.entered_at
FROM cycles.entry AS e
WHERE e.task = %(task)s
ORDER BY e.entered_at, e.key;

-- insert_decision
-- One row.
INSERT INTO cycles.decision (task, event, reason, actor, at)
VALUES (%(task)s, %(event)s, %(reason)s, %(actor)s, %(now)s);

-- decisions_of_task
-- What was decided of a task, oldest first.
SELECT d.event, d.reason, d.actor, d.at FROM cycles.decision AS d
WHERE d.task = %(task)s
ORDER BY d.id;

-- lock_concentrator_queue
-- Until commit nobody else numbers figures by hand of this concentrator.
SELECT pg_advisory_xact_lock(730512, hashtext(%(concentrator)s));

-- queue_delivery
-- One row with the next number of its concentrator; the caller holds its queue's lock.
INSERT INTO cycles.delivery (concentrator, seq, task, key, queued_at)
SELECT %(concentrator)s, coalesce(max(d.seq), 0) + 1, %(task)s, %(key)s, %(now)s
FROM cycles.delivery AS d
WHERE d.concentrator = %(concentrator)s
ON CONFLICT (task, key) DO NOTHING;

-- deliveries_waiting
-- Believed figures that ingest has not got, oldest first.
SELECT d.concentrator, d.seq, d.task, d.key, d.queued_at, t.meter, e.read_at, e.wh
FROM cycles.delivery AS d
JOIN cycles.entry AS e ON e.task = d.task AND e.key = d.key
JOIN cycles.task AS t ON t.id = d.task
WHERE d.delivered_at IS NULL
ORDER BY d.queued_at, d.concentrator, d.seq
LIMIT %(limit)s;

-- delivered
-- One row, once.
UPDATE cycles.delivery AS d
SET delivered_at = %(now)s, believed = %(believed)s
WHERE d.concentrator = %(concentrator)s AND d.seq = %(seq)s AND d.delivered_at IS NULL;
