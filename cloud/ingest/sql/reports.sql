-- insert_relay_changes
-- Reports that differ from the one before, or are the first of their meter; `at` rises per meter.
INSERT INTO ingest.relay_change (meter, at, output_closed, control_state, control_mode)
SELECT k.meter, k.at, k.output_closed, k.control_state, k.control_mode
FROM (
    SELECT n.meter, n.at, n.output_closed, n.control_state, n.control_mode,
           ROW(r.output_closed, r.control_state, r.control_mode) AS known,
           lag(ROW(n.output_closed, n.control_state, n.control_mode))
               OVER (PARTITION BY n.meter ORDER BY n.at) AS before
    FROM unnest(%(meter)s::text[], %(at)s::timestamptz[], %(output_closed)s::boolean[],
                %(control_state)s::smallint[], %(control_mode)s::smallint[])
         AS n (meter, at, output_closed, control_state, control_mode)
    LEFT JOIN ingest.relay_report AS r ON r.meter = n.meter
    WHERE r.meter IS NULL OR r.at < n.at
) AS k
WHERE coalesce(k.before, k.known)
      IS DISTINCT FROM ROW(k.output_closed, k.control_state, k.control_mode)
ON CONFLICT (meter, at) DO NOTHING;

-- upsert_relay_reports
-- The newest report of each meter: one row a meter.
INSERT INTO ingest.relay_report (meter, at, output_closed, control_state, control_mode)
SELECT DISTINCT ON (n.meter) n.meter, n.at, n.output_closed, n.control_state, n.control_mode
FROM unnest(%(meter)s::text[], %(at)s::timestamptz[], %(output_closed)s::boolean[],
            %(control_state)s::smallint[], %(control_mode)s::smallint[])
     AS n (meter, at, output_closed, control_state, control_mode)
ORDER BY n.meter, n.at DESC
ON CONFLICT (meter) DO UPDATE
SET at = excluded.at, output_closed = excluded.output_closed,
    control_state = excluded.control_state, control_mode = excluded.control_mode
WHERE relay_report.at < excluded.at;

-- relay_reports
-- The newest report of every meter, or of those named.
SELECT r.meter, r.at, r.output_closed, r.control_state, r.control_mode
FROM ingest.relay_report AS r
WHERE %(meters)s::text[] IS NULL OR r.meter = ANY (%(meters)s::text[])
ORDER BY r.meter;

-- relay_changes
-- How the switch of one meter moved, newest first.
SELECT c.meter, c.at, c.output_closed, c.control_state, c.control_mode
FROM ingest.relay_change AS c
WHERE c.meter = %(meter)s
ORDER BY c.at DESC LIMIT %(limit)s;

-- insert_events
-- One row each; a known (meter, code, at, origin) is the same event again.
INSERT INTO ingest.event (meter, code, at, origin, detail, received_at)
SELECT k.meter, k.code, k.at, k.origin, k.detail, k.received_at
FROM unnest(%(meter)s::text[], %(code)s::text[], %(at)s::timestamptz[], %(origin)s::text[],
            %(detail)s::text[], %(received_at)s::timestamptz[])
     AS k (meter, code, at, origin, detail, received_at)
ON CONFLICT (meter, code, at, origin) DO NOTHING;

-- events_of
-- Events of one meter, newest first.
SELECT e.meter, e.code, e.at, e.origin, e.detail
FROM ingest.event AS e
WHERE e.meter = %(meter)s
ORDER BY e.at DESC LIMIT %(limit)s;

-- momentary_of
-- The newest momentary values of the meters named.
SELECT m.meter, m.channel, m.value FROM ingest.momentary AS m WHERE m.meter = ANY (%(meters)s);

-- momentaries
-- The newest momentary values of the meters named, by place in the list; no locks.
SELECT k.n - 1, m.channel, (extract(epoch FROM m.at) * 1000)::bigint, m.value
FROM unnest(%(meters)s::text[]) WITH ORDINALITY AS k (meter, n)
JOIN ingest.momentary AS m ON m.meter = k.meter;

-- meters_seen
-- When each meter was last heard of.
SELECT s.meter, s.last_at, s.last_received FROM ingest.meter_seen AS s ORDER BY s.meter;

-- note_status
-- One row per concentrator; the newest telling stays. A will tells nothing of the backlog: what was
-- told before it stays beside it.
INSERT INTO ingest.concentrator_status AS s (concentrator, online, told_at, detail)
VALUES (%(concentrator)s, %(online)s, %(told_at)s, %(detail)s)
ON CONFLICT (concentrator) DO UPDATE
SET online = excluded.online, told_at = excluded.told_at,
    detail = CASE WHEN excluded.detail = '{}' THEN s.detail ELSE excluded.detail END
WHERE s.told_at <= excluded.told_at;

-- statuses
-- Presence of every concentrator that ever told of itself.
SELECT s.concentrator, s.online, s.told_at, s.detail FROM ingest.concentrator_status AS s
ORDER BY s.concentrator;
