-- insert_run_order
-- One order; nothing else is locked.
INSERT INTO bills.run_order (run, opened_by, act, actor, at)
VALUES (%(run)s, %(opened_by)s, %(act)s, %(actor)s, %(now)s)
RETURNING id;

-- oldest_run_order
-- The oldest order that has no end, or none. No locks: one process carries orders out, and an act
-- that is done twice changes nothing.
SELECT o.id, o.run, o.act, o.actor, o.at
FROM bills.run_order AS o
WHERE NOT EXISTS (SELECT 1 FROM bills.run_order_end AS e WHERE e.run_order = o.id)
ORDER BY o.id LIMIT 1;

-- end_run_order
-- One row, or none when the order has ended.
INSERT INTO bills.run_order_end (run_order, outcome, code, detail, at)
VALUES (%(order)s, %(outcome)s, %(code)s, %(detail)s, %(now)s)
ON CONFLICT ON CONSTRAINT run_order_end_pk DO NOTHING;

-- run_orders
-- The newest orders of a run with their ends; no locks.
SELECT o.id, o.run, o.act, o.actor, o.at, e.outcome, e.code, e.detail, e.at AS ended_at
FROM bills.run_order AS o
LEFT JOIN bills.run_order_end AS e ON e.run_order = o.id
WHERE o.run = %(run)s
ORDER BY o.id DESC LIMIT %(limit)s::int;
