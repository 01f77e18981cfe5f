-- insert_audit_event
-- One row. No locks beyond the row.
INSERT INTO audit.event
    (at, actor, on_behalf, action, entity, entity_id, before, after, reason, request_id)
VALUES
    (%(at)s, %(actor)s, %(on_behalf)s, %(action)s, %(entity)s, %(entity_id)s,
     %(before)s, %(after)s, %(reason)s, %(request_id)s);

-- insert_audit_events
-- One row for each act, numbered in their order. No locks beyond the rows.
INSERT INTO audit.event
    (at, actor, on_behalf, action, entity, entity_id, before, after, reason, request_id)
SELECT %(at)s, u.actor, '', u.action, u.entity, u.entity_id, u.before::jsonb, u.after::jsonb,
       u.reason, ''
FROM unnest(%(actors)s::text[], %(actions)s::text[], %(entities)s::text[],
            %(entity_ids)s::text[], %(befores)s::text[], %(afters)s::text[], %(reasons)s::text[])
    WITH ORDINALITY AS u (actor, action, entity, entity_id, before, after, reason, n)
ORDER BY u.n;

-- unsealed_audit_events
-- Events whose transactions are surely over and which no seal covers, oldest first.
SELECT e.id, e.at, e.actor, e.on_behalf, e.action, e.entity, e.entity_id,
       e.before, e.after, e.reason, e.request_id
FROM audit.event AS e
WHERE e.txid < pg_snapshot_xmin(pg_current_snapshot())
  AND e.id > %(after)s - 1000
  AND NOT EXISTS (
      SELECT 1 FROM audit.seal AS s WHERE s.seq > %(recent)s - 50 AND e.id = ANY (s.events)
  )
ORDER BY e.id
LIMIT 5000;

-- last_audit_seal
-- The newest seal, or none.
SELECT s.seq, s.digest, (SELECT max(id) FROM unnest(s.events) AS id) AS newest
FROM audit.seal AS s
ORDER BY s.seq DESC
LIMIT 1;

-- lock_audit_chain
-- Takes the one advisory lock of the chain until commit.
SELECT pg_advisory_xact_lock(7305117002);

-- insert_audit_seal
-- One row.
INSERT INTO audit.seal (seq, made_at, events, previous, digest)
VALUES (%(seq)s, %(made_at)s, %(events)s, %(previous)s, %(digest)s);

-- audit_history
-- Events about one thing, newest first.
SELECT e.id, e.at, e.actor, e.on_behalf, e.action, e.entity, e.entity_id,
       e.before, e.after, e.reason, e.request_id
FROM audit.event AS e
WHERE e.entity = %(entity)s AND e.entity_id = %(entity_id)s
ORDER BY e.id DESC
LIMIT %(limit)s;

-- audit_seals
-- Every seal, oldest first, for verification.
SELECT s.seq, s.events, s.previous, s.digest FROM audit.seal AS s ORDER BY s.seq;

-- audit_events_by_id
-- The events named, in id order.
SELECT e.id, e.at, e.actor, e.on_behalf, e.action, e.entity, e.entity_id,
       e.before, e.after, e.reason, e.request_id
FROM audit.event AS e
WHERE e.id = ANY (%(ids)s)
ORDER BY e.id;

-- count_unsealed_before
-- How many events older than an instant no seal covers.
SELECT count(*)
FROM audit.event AS e
WHERE e.at < %(before)s
  AND NOT EXISTS (SELECT 1 FROM audit.seal AS s WHERE e.id = ANY (s.events));
