-- insert_errands
-- One row for each target; refused where the target has one of that kind open.
INSERT INTO upkeep.errand (rollout, position, kind, concentrator, meter, sealed, source)
SELECT %(rollout)s, (t.number - 1)::integer, %(kind)s, t.concentrator, t.meter, t.sealed, t.source
FROM unnest(%(concentrators)s::text[], %(meters)s::text[], %(sealed)s::bytea[],
            %(sources)s::text[])
     WITH ORDINALITY AS t (concentrator, meter, sealed, source, number);

-- errands_of
-- The errands of a rollout in their order; no locks (the rollout's row is the lock).
SELECT e.id, e.rollout, e.position, e.kind, e.concentrator, e.meter, e.sealed, e.source, e.revision,
       e.state, e.expires, e.progress, e.ended_at, e.end_reason, e.evidence
FROM upkeep.errand AS e
WHERE e.rollout = %(rollout)s
ORDER BY e.position;

-- errand
-- One row or none; no lock (the rollout's row is the lock).
SELECT e.id, e.rollout, e.position, e.kind, e.concentrator, e.meter, e.sealed, e.source, e.revision,
       e.state, e.expires, e.progress, e.ended_at, e.end_reason, e.evidence
FROM upkeep.errand AS e
WHERE e.id = %(errand)s;

-- brought
-- For each meter that has it, the newest errand that brought an image in to be activated later.
SELECT DISTINCT ON (e.meter) e.meter, e.id
FROM upkeep.errand AS e
JOIN upkeep.rollout AS r ON r.id = e.rollout
WHERE e.meter = ANY(%(meters)s::text[]) AND e.kind = 'firmware' AND e.state = 'done'
  AND r.image = %(image)s AND NOT r.activate
ORDER BY e.meter, e.ended_at DESC;

-- next_revision
-- One row, locked until the transaction ends: revisions of a concentrator rise one by one.
INSERT INTO upkeep.revision AS v (concentrator, newest)
VALUES (%(concentrator)s, 1)
ON CONFLICT ON CONSTRAINT revision_pk DO UPDATE SET newest = v.newest + 1
RETURNING v.newest;

-- set_issued
-- One row or none, when it waits.
UPDATE upkeep.errand AS e
SET state = 'issued', revision = %(revision)s, issued_at = %(now)s, not_before = %(not_before)s,
    expires = %(expires)s, body = %(body)s
WHERE e.id = %(errand)s AND e.state = 'waiting'
RETURNING e.id;

-- sendable_errands
-- Signed errands that the edge has not confirmed, oldest first; no locks.
SELECT e.id, e.rollout, e.kind, e.concentrator, e.state, e.expires, e.body, e.signature
FROM upkeep.errand AS e
WHERE e.ended_at IS NULL AND e.signature IS NOT NULL AND e.state IN ('issued', 'dispatched')
ORDER BY e.issued_at, e.id
LIMIT 500;

-- set_dispatched
-- One row or none, when it has not been sent and its rollout still runs.
UPDATE upkeep.errand AS e
SET state = 'dispatched', dispatched_at = %(now)s
FROM upkeep.rollout AS r
WHERE e.id = %(errand)s AND e.state = 'issued' AND e.ended_at IS NULL
  AND r.id = e.rollout AND r.state IN ('first', 'rest')
RETURNING e.id;

-- set_errand_state
-- One row or none, when it is open and in the state the caller saw.
UPDATE upkeep.errand AS e
SET state = %(state)s
WHERE e.id = %(errand)s AND e.state = %(before)s AND e.ended_at IS NULL
RETURNING e.id;

-- set_progress
-- One row or none, when it is open.
UPDATE upkeep.errand AS e
SET progress = %(progress)s
WHERE e.id = %(errand)s AND e.ended_at IS NULL;

-- end_errand
-- One row or none, when it is open.
UPDATE upkeep.errand AS e
SET state = %(state)s, ended_at = %(now)s, end_reason = %(reason)s, evidence = %(evidence)s
WHERE e.id = %(errand)s AND e.ended_at IS NULL
RETURNING e.id;

-- not_signed
-- Open errands that the signer would not sign; no locks.
SELECT e.id, e.rollout, e.signer_refusal AS cause
FROM upkeep.errand AS e
WHERE e.ended_at IS NULL AND e.signer_refusal IS NOT NULL
ORDER BY e.issued_at, e.id
LIMIT 500;

-- overdue
-- Open errands whose time is over: the edge's answer is waited for longer where it has begun.
SELECT e.id, e.rollout, '' AS cause
FROM upkeep.errand AS e
WHERE e.ended_at IS NULL AND e.expires IS NOT NULL
  AND e.expires < CASE WHEN e.state IN ('accepted', 'started') THEN %(begun_before)s::timestamptz
                       ELSE %(before)s::timestamptz END
ORDER BY e.expires, e.id
LIMIT 500;

-- insert_ack
-- One row, or none when it came before.
INSERT INTO upkeep.ack
    (id, stage, meter, concentrator, at, received_at, reason, evidence)
VALUES
    (%(id)s, %(stage)s, %(meter)s, %(concentrator)s, %(at)s, %(now)s, %(reason)s, %(evidence)s)
ON CONFLICT ON CONSTRAINT ack_pk DO NOTHING
RETURNING id;

-- insert_stray_ack
-- One row, or none when it came before.
INSERT INTO upkeep.stray_ack (id, stage, concentrator, meter, received_at, cause)
VALUES (%(id)s, %(stage)s, %(concentrator)s, %(meter)s, %(now)s, %(cause)s)
ON CONFLICT ON CONSTRAINT stray_ack_pk DO NOTHING;
