-- advance_positions
-- One row per partition, locked until commit; a place never goes back, whoever is late.
INSERT INTO ingest.kafka_position AS p (cluster, topic, partition, next_offset, stored_at)
SELECT %(cluster)s, %(topic)s, k.partition, k.next_offset, %(stored_at)s
FROM unnest(%(partition)s::int[], %(next_offset)s::bigint[]) AS k (partition, next_offset)
ORDER BY k.partition
ON CONFLICT (cluster, topic, partition) DO UPDATE
SET next_offset = excluded.next_offset, stored_at = excluded.stored_at
WHERE p.next_offset < excluded.next_offset;

-- positions
-- The places of one topic: a row per partition that anything was stored of.
SELECT p.partition, p.next_offset
FROM ingest.kafka_position AS p
WHERE p.cluster = %(cluster)s AND p.topic = %(topic)s;

-- restart_position
-- One row: the topic was made anew, and what counted before means nothing now.
UPDATE ingest.kafka_position AS p
SET next_offset = %(next_offset)s, stored_at = %(stored_at)s
WHERE p.cluster = %(cluster)s AND p.topic = %(topic)s AND p.partition = %(partition)s;
