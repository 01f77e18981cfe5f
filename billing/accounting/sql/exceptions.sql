-- bills_waiting
-- Items of runs that wait for people or were parked, while nobody billed them; no locks.
SELECT w.run, w.agreement, w.account, w.state, w.reasons, w.detail
FROM bills.waiting AS w ORDER BY w.run, w.agreement;

-- lock_gathering
-- The one advisory lock of looking at the sources, until commit.
SELECT pg_advisory_xact_lock(730511705);

-- known_exceptions
-- Exceptions that are not gone, and gone ones that are found again, with their row locks.
SELECT x.id, x.source, x.subject, x.kind, x.account, x.detail, x.state, x.owner, x.found_at,
       x.moved_at
FROM accounting.exception AS x
WHERE x.state <> 'gone'
   OR (x.source, x.subject, x.kind) IN (
       SELECT u.source, u.subject, u.kind
       FROM unnest(%(sources)s::text[], %(subjects)s::text[], %(kinds)s::text[])
           AS u (source, subject, kind))
ORDER BY x.id FOR UPDATE;

-- insert_exceptions
-- New rows with their first step.
WITH fresh AS (
    INSERT INTO accounting.exception
        (source, subject, kind, account, detail, found_at, moved_at)
    SELECT u.source, u.subject, u.kind, u.account, u.detail, %(now)s, %(now)s
    FROM unnest(%(sources)s::text[], %(subjects)s::text[], %(kinds)s::text[], %(accounts)s::text[],
                %(details)s::text[]) AS u (source, subject, kind, account, detail)
    RETURNING id
)
INSERT INTO accounting.exception_step (exception, seq, event, state, actor, at)
SELECT f.id, 1, 'found', 'open', %(actor)s, %(now)s FROM fresh AS f;

-- move_exceptions
-- Rows that take a state, each with its step; the caller has their row locks.
WITH moved AS (
    UPDATE accounting.exception AS x
    SET state = u.state, owner = u.owner, detail = u.detail, moved_at = %(now)s
    FROM unnest(%(ids)s::bigint[], %(states)s::text[], %(owners)s::text[], %(details)s::text[])
        AS u (id, state, owner, detail)
    WHERE x.id = u.id
    RETURNING x.id, x.state
)
INSERT INTO accounting.exception_step (exception, seq, event, state, actor, reason, at)
SELECT m.id, (SELECT max(s.seq) FROM accounting.exception_step AS s WHERE s.exception = m.id) + 1,
       %(event)s, m.state, %(actor)s, %(reason)s, %(now)s
FROM moved AS m;

-- exception_for_update
-- One exception or none, its row lock.
SELECT x.id, x.source, x.subject, x.kind, x.account, x.detail, x.state, x.owner, x.found_at,
       x.moved_at
FROM accounting.exception AS x WHERE x.id = %(id)s FOR UPDATE;

-- exceptions_in
-- Exceptions in the states named, oldest first, in pages by number; no locks.
SELECT x.id, x.source, x.subject, x.kind, x.account, x.detail, x.state, x.owner, x.found_at,
       x.moved_at
FROM accounting.exception AS x
WHERE x.state = ANY (%(states)s::text[]) AND x.id > %(after)s
ORDER BY x.id
LIMIT %(limit)s::int;

-- exception_counts
-- How many exceptions there are of each source and state; no locks.
SELECT x.source, x.state, count(*) FROM accounting.exception AS x
GROUP BY x.source, x.state ORDER BY x.source, x.state;

-- steps_of
-- What was done about one exception, in order; no locks.
SELECT s.seq, s.event, s.state, s.actor, s.reason, s.at
FROM accounting.exception_step AS s WHERE s.exception = %(id)s ORDER BY s.seq;
