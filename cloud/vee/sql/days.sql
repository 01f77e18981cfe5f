-- frontier
-- Up to where whole days were handed to validation: one row, no lock.
SELECT f.until FROM vee.frontier AS f;

-- share_frontier
-- The shared advisory lock of the frontier until commit: it stays where it is meanwhile.
SELECT pg_advisory_xact_lock_shared(730513);

-- hold_frontier
-- The exclusive advisory lock of the frontier until commit: whoever adds readings waits.
SELECT pg_advisory_xact_lock(730513);

-- move_frontier
-- The one row, forward only; the caller holds its advisory lock.
UPDATE vee.frontier AS f SET until = %(until)s WHERE f.until < %(until)s;

-- lock_validation
-- The advisory lock of validation until commit: one transaction of it at a time.
SELECT pg_advisory_xact_lock(730514);

-- newest_start
-- The newest interval of any meter that was heard of, or NULL: one row.
SELECT max(c.newest_start) AS newest FROM vee.coverage AS c;

-- insert_rounds
-- Civil days that are complete now; known ones are left alone.
INSERT INTO vee.round (zone, day, since, until, begun_at, rule_set)
SELECT k.zone, k.day, k.since, k.until, %(now)s, k.rule_set
FROM unnest(%(zone)s::text[], %(day)s::date[], %(since)s::timestamptz[], %(until)s::timestamptz[],
            %(rule_set)s::text[]) AS k (zone, day, since, until, rule_set)
ON CONFLICT (zone, day) DO NOTHING;

-- open_round
-- The oldest round that is not ended, or none; the caller holds the lock of validation.
SELECT r.zone, r.day, r.after FROM vee.round AS r
WHERE r.ended_at IS NULL ORDER BY r.day, r.zone LIMIT 1;

-- open_rounds
-- How many rounds are not ended.
SELECT count(*) AS n FROM vee.round AS r WHERE r.ended_at IS NULL;

-- move_round
-- One round, further or ended.
UPDATE vee.round AS r
SET after = %(after)s, points = r.points + %(points)s, ended_at = %(ended_at)s
WHERE r.zone = %(zone)s AND r.day = %(day)s;

-- mark_dirty
-- Days to be looked at again; one that waits already is marked once more.
INSERT INTO vee.dirty AS d (usage_point, day, cause, reference, actor, marked_at)
SELECT k.usage_point, k.day, %(cause)s, %(reference)s, %(actor)s, %(now)s
FROM unnest(%(usage_point)s::text[], %(day)s::date[]) AS k (usage_point, day)
ORDER BY k.usage_point, k.day
ON CONFLICT (usage_point, day) DO UPDATE
SET marks = d.marks + 1,
    cause = CASE WHEN excluded.cause = 'again' THEN d.cause ELSE excluded.cause END,
    reference = CASE WHEN excluded.cause = 'again' THEN d.reference ELSE excluded.reference END,
    actor = CASE WHEN excluded.cause = 'again' THEN d.actor ELSE excluded.actor END;

-- dirty_days
-- Days that wait to be looked at again, in order; no lock.
SELECT d.usage_point, d.day, d.cause, d.marks
FROM vee.dirty AS d ORDER BY d.usage_point, d.day LIMIT %(limit)s;

-- dirty_count
-- How many days wait to be looked at again.
SELECT count(*) AS n FROM vee.dirty AS d;

-- clear_dirty
-- The days named, unless they were marked once more meanwhile.
DELETE FROM vee.dirty AS d
USING unnest(%(usage_point)s::text[], %(day)s::date[], %(marks)s::bigint[])
      AS k (usage_point, day, marks)
WHERE d.usage_point = k.usage_point AND d.day = k.day AND d.marks = k.marks;

-- resting_days
-- Days that lack something and whose estimates rest on a day named: index scans of 80 days around.
SELECT DISTINCT d.usage_point, d.day
FROM unnest(%(usage_point)s::text[], %(day)s::date[]) AS k (usage_point, day)
JOIN vee.day AS d ON d.usage_point = k.usage_point AND d.day BETWEEN k.day - 80 AND k.day + 80
WHERE d.reads_from <= k.day AND d.reads_to >= k.day AND d.day <> k.day
  AND d.estimated + d.missing > 0
  AND NOT EXISTS (SELECT FROM vee.day AS x WHERE x.usage_point = d.usage_point AND x.day = d.day
                  AND x.seconds = d.seconds AND x.version > d.version)
ORDER BY d.usage_point, d.day;

-- newest_days
-- The newest version of one day of each usage point named that has any.
SELECT DISTINCT ON (d.usage_point)
       d.usage_point, d.day, d.seconds, d.version, d.since, d.until, d.checked_at, d.rule_set,
       d.rule_hash, d.expected, d.present, d.edited, d.suspect, d.estimated, d.missing,
       d.findings, d.refused, d.reads_from, d.reads_to
FROM vee.day AS d
WHERE d.usage_point = ANY (%(usage_points)s) AND d.day = %(day)s AND d.seconds = %(seconds)s
ORDER BY d.usage_point, d.version DESC;

-- days_of_point
-- Every version of the days of a usage point between two, oldest first.
SELECT d.usage_point, d.day, d.seconds, d.version, d.since, d.until, d.checked_at, d.rule_set,
       d.rule_hash, d.expected, d.present, d.edited, d.suspect, d.estimated, d.missing,
       d.findings, d.refused, d.reads_from, d.reads_to
FROM vee.day AS d
WHERE d.usage_point = %(usage_point)s AND d.day BETWEEN %(first)s AND %(last)s
ORDER BY d.day, d.seconds, d.version;

-- insert_day
-- One version of a day.
INSERT INTO vee.day (usage_point, day, seconds, version, since, until, checked_at, rule_set,
                     rule_hash, expected, present, edited, suspect, estimated, missing, findings,
                     refused, reads_from, reads_to)
VALUES (%(usage_point)s, %(day)s, %(seconds)s, %(version)s, %(since)s, %(until)s, %(checked_at)s,
        %(rule_set)s, %(rule_hash)s, %(expected)s, %(present)s, %(edited)s, %(suspect)s,
        %(estimated)s, %(missing)s, %(findings)s, %(refused)s, %(reads_from)s, %(reads_to)s);

-- newest_machine_rows
-- The newest of the machine's rows of one day of each usage point named that has any.
SELECT DISTINCT ON (o.usage_point)
       o.usage_point, o.version, o.created_at, o.offset_s, o.kind, o.wh, o.low_wh, o.high_wh,
       o.made, o.rule_hash
FROM vee.overlay AS o
WHERE o.usage_point = ANY (%(usage_points)s) AND o.day = %(day)s AND o.layer = 'machine'
  AND o.seconds = %(seconds)s
ORDER BY o.usage_point, o.version DESC;

-- insert_machine_row
-- One version of what the machine says of a day.
INSERT INTO vee.overlay (usage_point, day, layer, seconds, version, created_at, since, offset_s,
                         kind, wh, low_wh, high_wh, made, rule_set, rule_hash, actor)
VALUES (%(usage_point)s, %(day)s, 'machine', %(seconds)s, %(version)s, %(created_at)s, %(since)s,
        %(offset_s)s::integer[], %(kind)s::smallint[], %(wh)s::bigint[], %(low_wh)s::bigint[],
        %(high_wh)s::bigint[], %(made)s, %(rule_set)s, %(rule_hash)s, 'system:vee');
