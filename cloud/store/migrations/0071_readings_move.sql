-- What stood in the tables of one row per reading moves to series; the old names become views.
INSERT INTO ingest.series (meter, channel, seconds)
SELECT k.meter, k.channel, k.seconds
FROM (
    SELECT DISTINCT r.meter, r.channel, 0 AS seconds FROM ingest.register_reading AS r
    UNION SELECT DISTINCT i.meter, i.channel, i.seconds FROM ingest.interval_reading AS i
) AS k
ORDER BY k.meter, k.channel, k.seconds;

SELECT ingest.open_day(k.day, now())
FROM (
    SELECT (r.at AT TIME ZONE 'UTC')::date AS day FROM ingest.register_reading AS r
    UNION SELECT (i.start AT TIME ZONE 'UTC')::date FROM ingest.interval_reading AS i
    ORDER BY day
) AS k;

INSERT INTO ingest.reading (series, at, wh, status, received_at, batch)
SELECT s.no, r.at, r.wh, r.status, r.received_at, b.no
FROM ingest.register_reading AS r
JOIN ingest.series AS s ON (s.meter, s.channel, s.seconds) = (r.meter, r.channel, 0)
JOIN ingest.batch AS b ON (b.concentrator, b.boot, b.seq) = (r.concentrator, r.boot, r.seq);
INSERT INTO ingest.reading (series, at, wh, status, received_at, batch)
SELECT s.no, i.start, i.wh, i.status, i.received_at, b.no
FROM ingest.interval_reading AS i
JOIN ingest.series AS s ON (s.meter, s.channel, s.seconds) = (i.meter, i.channel, i.seconds)
JOIN ingest.batch AS b ON (b.concentrator, b.boot, b.seq) = (i.concentrator, i.boot, i.seq);

DO $$
BEGIN
    IF (SELECT count(*) FROM ingest.reading)
       <> (SELECT count(*) FROM ingest.register_reading)
        + (SELECT count(*) FROM ingest.interval_reading) THEN
        RAISE EXCEPTION 'readings were lost on the way; nothing is changed';
    END IF;
END
$$;

-- Packed columns of width 8: octets from the lowest up, as regexp_replace turns them.
INSERT INTO ingest.concentrator_state (concentrator, stamp, meters, last, received)
SELECT k.concentrator, 0, array_agg(k.meter ORDER BY k.meter),
       decode('08' || string_agg(regexp_replace(lpad(to_hex(
           (extract(epoch FROM k.last_at) * 1000)::bigint), 16, '0'),
           '(..)(..)(..)(..)(..)(..)(..)(..)', '\8\7\6\5\4\3\2\1'), '' ORDER BY k.meter), 'hex'),
       decode('08' || string_agg(regexp_replace(lpad(to_hex(
           (extract(epoch FROM k.last_received) * 1000)::bigint), 16, '0'),
           '(..)(..)(..)(..)(..)(..)(..)(..)', '\8\7\6\5\4\3\2\1'), '' ORDER BY k.meter), 'hex')
FROM (
    SELECT DISTINCT ON (m.meter) m.meter, m.last_at, m.last_received, i.concentrator
    FROM ingest.meter_seen AS m
    JOIN assets.installation AS i ON i.meter = m.meter
    ORDER BY m.meter, i.installed_at DESC
) AS k
GROUP BY k.concentrator;

DROP TABLE ingest.register_reading;
DROP TABLE ingest.interval_reading;
DROP TABLE ingest.meter_seen;

CREATE VIEW ingest.stored AS
SELECT r.series, r.at, r.wh, r.status, r.received_at, r.batch FROM ingest.reading AS r
UNION ALL
SELECT d.series, u.at, u.wh, u.status, u.received_at, u.batch
FROM ingest.day AS d CROSS JOIN LATERAL ingest.unpack(d.day, d.body) AS u;

CREATE VIEW ingest.register_reading AS
SELECT s.meter, s.channel, x.at, x.wh, x.status, x.received_at, b.concentrator, b.boot, b.seq
FROM ingest.series AS s
JOIN ingest.stored AS x ON x.series = s.no
LEFT JOIN ingest.batch AS b ON b.no = x.batch
WHERE s.seconds = 0;

CREATE VIEW ingest.interval_reading AS
SELECT s.meter, s.channel, x.at AS start, s.seconds, x.wh, x.status, x.received_at,
       b.concentrator, b.boot, b.seq
FROM ingest.series AS s
JOIN ingest.stored AS x ON x.series = s.no
LEFT JOIN ingest.batch AS b ON b.no = x.batch
WHERE s.seconds > 0;

-- Of a meter that two concentrators have read, the later instants count.
CREATE VIEW ingest.meter_seen AS
SELECT k.meter, 'epoch'::timestamptz + max(k.last_ms) * interval '1 millisecond' AS last_at,
       'epoch'::timestamptz + max(k.received_ms) * interval '1 millisecond' AS last_received
FROM ingest.concentrator_state AS c
CROSS JOIN LATERAL unnest(
    c.meters, ingest.packed_column(c.last, 0, cardinality(c.meters)),
    ingest.packed_column(c.received, 0, cardinality(c.meters))
) AS k (meter, last_ms, received_ms)
WHERE cardinality(c.meters) > 0 AND k.last_ms >= 0
GROUP BY k.meter;

GRANT SELECT ON ALL TABLES IN SCHEMA ingest TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
GRANT INSERT ON ingest.series, ingest.reading, ingest.day, ingest.day_state,
    ingest.concentrator_state, ingest.concentrator_status TO meterloop_ingest;
GRANT UPDATE ON ingest.day, ingest.concentrator_state, ingest.concentrator_status
    TO meterloop_ingest;
GRANT USAGE ON SEQUENCE ingest.batch_no_seq TO meterloop_ingest;
REVOKE EXECUTE ON FUNCTION ingest.open_day(date, timestamptz), ingest.ready_month(date),
    ingest.drop_day(date, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingest.open_day(date, timestamptz), ingest.ready_month(date),
    ingest.drop_day(date, timestamptz) TO meterloop_ingest;
