-- ratios
-- Every factor of the usage points named, oldest first.
SELECT r.usage_point, r.valid_from, r.numerator, r.denominator, r.register_wh
FROM assets.ratio AS r WHERE r.usage_point = ANY (%(usage_points)s)
ORDER BY r.usage_point, r.valid_from;

-- insert_ratio
-- One row, unless one of that usage point begins at that instant.
INSERT INTO assets.ratio (usage_point, valid_from, numerator, denominator, register_wh, actor,
                          reason, created_at)
VALUES (%(usage_point)s, %(valid_from)s, %(numerator)s, %(denominator)s, %(register_wh)s, %(actor)s,
        %(reason)s, %(now)s)
ON CONFLICT (usage_point, valid_from) DO NOTHING
RETURNING usage_point;

-- insert_changes
-- One row per usage point of which something was told of a time before now, each from its instant.
INSERT INTO assets.past_change (usage_point, since, reference, actor, at)
SELECT k.usage_point, k.since, %(reference)s, %(actor)s, %(now)s
FROM unnest(%(usage_points)s::text[], %(since)s::timestamptz[]) AS k (usage_point, since)
WHERE k.since < %(now)s::timestamptz;

-- points_with_others
-- Those (usage point, instant) of an installation at which another one begins at another time.
SELECT k.n - 1
FROM unnest(%(usage_points)s::text[], %(since)s::timestamptz[]) WITH ORDINALITY
     AS k (usage_point, since, n)
WHERE EXISTS (SELECT FROM assets.installation AS i
              WHERE i.usage_point = k.usage_point AND i.installed_at <> k.since)
ORDER BY k.n;

-- take_changes
-- Takes the oldest changes of past time; row locks until commit.
DELETE FROM assets.past_change AS c
WHERE c.no IN (SELECT k.no FROM assets.past_change AS k ORDER BY k.no LIMIT %(limit)s)
RETURNING c.usage_point, c.since, c.reference, c.actor;

-- insert_ratio_proposal
-- One row; its number.
INSERT INTO assets.ratio_proposal (usage_point, valid_from, numerator, denominator, register_wh,
                                   reason, proposed_by, proposed_at)
VALUES (%(usage_point)s, %(valid_from)s, %(numerator)s, %(denominator)s, %(register_wh)s,
        %(reason)s, %(actor)s, %(now)s)
RETURNING id;

-- ratio_proposals
-- Proposals, one by number or of one usage point or all, newest first, with their decisions.
SELECT p.id, p.usage_point, p.valid_from, p.numerator, p.denominator, p.register_wh, p.reason,
       p.proposed_by, p.proposed_at, d.verified, d.reason AS why, d.decided_by, d.decided_at
FROM assets.ratio_proposal AS p
LEFT JOIN assets.ratio_decision AS d ON d.proposal = p.id
WHERE (%(id)s::bigint IS NULL OR p.id = %(id)s::bigint)
  AND (%(usage_point)s::text IS NULL OR p.usage_point = %(usage_point)s::text)
  AND (d.proposal IS NULL OR NOT %(open)s::boolean)
ORDER BY p.id DESC LIMIT %(limit)s;

-- insert_ratio_decision
-- One row, or none where it is decided already.
INSERT INTO assets.ratio_decision (proposal, verified, reason, decided_by, decided_at)
VALUES (%(id)s, %(verified)s, %(reason)s, %(actor)s, %(now)s)
ON CONFLICT (proposal) DO NOTHING
RETURNING proposal;
