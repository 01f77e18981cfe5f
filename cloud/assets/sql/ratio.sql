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
