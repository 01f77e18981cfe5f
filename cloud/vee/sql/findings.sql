-- upsert_findings
-- One row per usage point, day and kind: as it was, changed, or open again. What a person settled
-- stays closed while the same is found.
INSERT INTO vee.exception AS x (kind, meter, usage_point, range_start, range_end, opened_at,
                                severity, day, places, value, allowed, unit, rule_set, parameters,
                                detail)
SELECT k.kind, k.meter, k.usage_point, 'epoch'::timestamptz + k.start_ms * interval '1 millisecond',
       'epoch'::timestamptz + k.end_ms * interval '1 millisecond', %(now)s, k.severity, %(day)s,
       k.places, k.value, k.allowed, k.unit, %(rule_set)s, k.parameters, k.detail
FROM unnest(%(kind)s::text[], %(meter)s::text[], %(usage_point)s::text[], %(start_ms)s::bigint[],
            %(end_ms)s::bigint[], %(severity)s::text[], %(places)s::integer[], %(value)s::bigint[],
            %(allowed)s::bigint[], %(unit)s::text[], %(parameters)s::jsonb[], %(detail)s::text[])
     AS k (kind, meter, usage_point, start_ms, end_ms, severity, places, value, allowed, unit,
           parameters, detail)
ON CONFLICT (usage_point, day, kind) WHERE day IS NOT NULL DO UPDATE
SET range_start = excluded.range_start, range_end = excluded.range_end,
    severity = excluded.severity, places = excluded.places, value = excluded.value,
    allowed = excluded.allowed, unit = excluded.unit, rule_set = excluded.rule_set,
    parameters = excluded.parameters, detail = excluded.detail,
    opened_at = CASE WHEN x.closed_at IS NULL THEN x.opened_at ELSE excluded.opened_at END,
    reopened = x.reopened + (x.closed_at IS NOT NULL)::integer,
    closed_at = NULL, closed_by = NULL, close_reason = ''
WHERE (x.closed_at IS NOT NULL AND x.closed_by LIKE 'system:%%')
   OR (x.range_start, x.range_end, x.severity, x.places, x.value, x.allowed, x.unit, x.rule_set,
       x.parameters, x.detail)
      IS DISTINCT FROM
      (excluded.range_start, excluded.range_end, excluded.severity, excluded.places,
       excluded.value, excluded.allowed, excluded.unit, excluded.rule_set, excluded.parameters,
       excluded.detail);

-- close_findings
-- Open findings of one day of the usage points named, but those found again.
UPDATE vee.exception AS x
SET closed_at = %(now)s, closed_by = 'system:vee', close_reason = 'found no longer'
WHERE x.day = %(day)s AND x.usage_point = ANY (%(usage_points)s) AND x.closed_at IS NULL
  AND NOT EXISTS (
      SELECT FROM unnest(%(found_point)s::text[], %(found_kind)s::text[]) AS k (usage_point, kind)
      WHERE k.usage_point = x.usage_point AND k.kind = x.kind);
