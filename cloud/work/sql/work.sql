-- insert_order
-- One row, or none when its cause was raised before.
INSERT INTO work.order (kind, usage_point, cause_key, summary, state, raised_at)
VALUES (%(kind)s, %(usage_point)s, %(cause_key)s, %(summary)s, 'raised', %(now)s)
ON CONFLICT ON CONSTRAINT order_cause_once DO NOTHING
RETURNING id;

-- order
-- One row or none; no lock.
SELECT o.id, o.kind, o.usage_point, o.cause_key, o.summary, o.state, o.crew, o.raised_at,
       o.assigned_at, o.done_at, o.verified_at, o.verified_by, o.outcome, o.register_wh, o.note
FROM work.order AS o
WHERE o.id = %(order)s;

-- lock_order
-- One row or none; takes its lock.
SELECT o.id FROM work.order AS o WHERE o.id = %(order)s FOR UPDATE;

-- open_order_of
-- An order of a kind at a usage point that nobody has reported done, or none.
SELECT o.id
FROM work.order AS o
WHERE o.usage_point = %(usage_point)s AND o.kind = %(kind)s
  AND o.state IN ('raised', 'assigned')
ORDER BY o.raised_at
LIMIT 1;

-- orders
-- Orders of one crew or of all, open ones first, newest first.
SELECT o.id, o.kind, o.usage_point, o.cause_key, o.summary, o.state, o.crew, o.raised_at,
       o.assigned_at, o.done_at, o.verified_at, o.verified_by, o.outcome, o.register_wh, o.note
FROM work.order AS o
WHERE %(crew)s::text IS NULL OR o.crew = %(crew)s::text
ORDER BY o.state IN ('done', 'verified'), o.raised_at DESC, o.id DESC
LIMIT %(limit)s;

-- orders_of
-- Orders at one usage point, newest first.
SELECT o.id, o.kind, o.usage_point, o.cause_key, o.summary, o.state, o.crew, o.raised_at,
       o.assigned_at, o.done_at, o.verified_at, o.verified_by, o.outcome, o.register_wh, o.note
FROM work.order AS o
WHERE o.usage_point = %(usage_point)s
ORDER BY o.raised_at DESC, o.id DESC
LIMIT 50;

-- assign_order
-- One row, locked by the caller.
UPDATE work.order AS o
SET state = 'assigned', crew = %(crew)s, assigned_at = %(now)s
WHERE o.id = %(order)s;

-- report_order
-- One row, locked by the caller.
UPDATE work.order AS o
SET state = 'done', done_at = %(now)s, outcome = %(outcome)s, register_wh = %(register_wh)s,
    note = %(note)s
WHERE o.id = %(order)s;

-- verify_order
-- One row, locked by the caller.
UPDATE work.order AS o
SET state = %(state)s, verified_at = %(verified_at)s, verified_by = %(verified_by)s
WHERE o.id = %(order)s;

-- insert_report
-- One row.
INSERT INTO work.report
    (order_id, idempotency_key, outcome, register_wh, note, actor, at)
VALUES
    (%(order)s, %(key)s, %(outcome)s, %(register_wh)s, %(note)s, %(actor)s, %(now)s);

-- report_by_key
-- One row or none.
SELECT r.outcome, r.register_wh, r.note, r.actor
FROM work.report AS r
WHERE r.order_id = %(order)s AND r.idempotency_key = %(key)s;

-- upsert_crew
-- One row.
INSERT INTO work.crew (login, phone, language, on_duty, changed_at)
VALUES (%(login)s, %(phone)s, %(language)s, %(on_duty)s, %(now)s)
ON CONFLICT (login) DO UPDATE
SET phone = excluded.phone, language = excluded.language, on_duty = excluded.on_duty,
    changed_at = excluded.changed_at;

-- crews
-- Crews with the number of their open orders, the least busy on duty first.
SELECT c.login, c.phone, c.language, c.on_duty,
       (SELECT count(*) FROM work.order AS o WHERE o.crew = c.login AND o.state = 'assigned')
           AS open_orders
FROM work.crew AS c
ORDER BY NOT c.on_duty, open_orders, c.login;

-- lock_cursor
-- One row; takes its lock, so that one follower works at a time.
SELECT c.seq FROM work.cursor AS c WHERE c.name = %(name)s FOR UPDATE;

-- move_cursor
-- One row, locked by the caller.
UPDATE work.cursor AS c SET seq = %(seq)s WHERE c.name = %(name)s;

-- orders_of_causes
-- The orders that were ever raised for the causes named.
SELECT o.cause_key FROM work.order AS o WHERE o.cause_key = ANY (%(causes)s);

-- open_missing_orders
-- Orders for missing registers that nobody has reported done, in order.
SELECT o.id, o.cause_key FROM work.order AS o
WHERE o.kind = 'exception' AND o.state IN ('raised', 'assigned') AND o.cause_key LIKE 'missing:%%'
ORDER BY o.id;
