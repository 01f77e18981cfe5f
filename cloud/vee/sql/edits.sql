-- insert_edit
-- One proposal; its number comes back.
INSERT INTO vee.edit (usage_point, seconds, start_ms, wh, reason, proposed_by, proposed_at)
VALUES (%(usage_point)s, %(seconds)s, %(start_ms)s::bigint[], %(wh)s::bigint[], %(reason)s,
        %(actor)s, %(now)s)
RETURNING id;

-- edits
-- Proposals, newest first; a NULL filter means any. No locks.
SELECT e.id, e.usage_point, e.seconds, e.start_ms, e.wh, e.reason, e.proposed_by, e.proposed_at,
       e.state, e.decided_by, e.decided_at, e.decision
FROM vee.edit AS e
WHERE (%(state)s::text IS NULL OR e.state = %(state)s::text)
  AND (%(usage_point)s::text IS NULL OR e.usage_point = %(usage_point)s::text)
ORDER BY e.id DESC LIMIT %(limit)s;

-- lock_edit
-- One proposal and its row lock, or none.
SELECT e.id, e.usage_point, e.seconds, e.start_ms, e.wh, e.reason, e.proposed_by, e.proposed_at,
       e.state, e.decided_by, e.decided_at, e.decision
FROM vee.edit AS e WHERE e.id = %(id)s FOR UPDATE;

-- decide_edit
-- One row, locked by the caller.
UPDATE vee.edit AS e
SET state = %(state)s, decided_by = %(actor)s, decided_at = %(now)s, decision = %(decision)s
WHERE e.id = %(id)s;

-- lock_person_rows
-- The advisory lock of what people say over one usage point, until commit.
SELECT pg_advisory_xact_lock(730515, hashtext(%(usage_point)s));

-- insert_person_row
-- The next version of what people say of one day; the caller holds the lock of the usage point.
INSERT INTO vee.overlay (usage_point, day, layer, seconds, version, created_at, since, offset_s,
                         kind, wh, low_wh, high_wh, made, actor, verified_by, reason)
SELECT %(usage_point)s, %(day)s, 'person', %(seconds)s, coalesce(max(o.version), 0) + 1,
       greatest(%(now)s, max(o.created_at)), %(since)s, %(offset_s)s::integer[],
       %(kind)s::smallint[], %(wh)s::bigint[], %(wh)s::bigint[], %(wh)s::bigint[], %(made)s,
       %(actor)s, %(verified_by)s, %(reason)s
FROM vee.overlay AS o
WHERE o.usage_point = %(usage_point)s AND o.day = %(day)s AND o.layer = 'person'
  AND o.seconds = %(seconds)s;

-- insert_person_register
-- The next version of what people say of one register; the caller holds the usage point's lock.
INSERT INTO vee.register_overlay (usage_point, at, layer, version, created_at, kind, wh, actor,
                                  verified_by, reason)
SELECT %(usage_point)s, %(at)s, 'person', coalesce(max(o.version), 0) + 1,
       greatest(%(now)s, max(o.created_at)), %(kind)s, %(wh)s, %(actor)s, %(verified_by)s,
       %(reason)s
FROM vee.register_overlay AS o
WHERE o.usage_point = %(usage_point)s AND o.at = %(at)s AND o.layer = 'person';

-- overlay_versions
-- Everything ever said over the days of a usage point between two, oldest first.
SELECT o.layer, o.seconds, o.version, o.created_at, o.since, o.offset_s, o.kind, o.wh, o.low_wh,
       o.high_wh, o.made, o.rule_set, o.rule_hash, o.actor, o.verified_by, o.reason
FROM vee.overlay AS o
WHERE o.usage_point = %(usage_point)s AND o.day BETWEEN %(first)s AND %(last)s
ORDER BY o.created_at, o.layer, o.version;
