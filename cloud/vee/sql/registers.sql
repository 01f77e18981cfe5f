-- newest_machine_registers
-- What the machine says now of one instant's register of each usage point named, where it says any.
SELECT DISTINCT ON (o.usage_point)
       o.usage_point, o.version, o.created_at, o.kind, o.wh, o.method, o.reason, o.references_n,
       o.rests_from
FROM vee.register_overlay AS o
WHERE o.usage_point = ANY (%(usage_points)s) AND o.at = %(at)s AND o.layer = 'machine'
ORDER BY o.usage_point, o.version DESC;

-- register_versions
-- Everything ever said over the registers of a usage point in [start, end], by instant, oldest first.
SELECT o.at, o.layer, o.version, o.created_at, o.kind, o.wh, o.method, o.reason, o.rule_set,
       o.references_n, o.rests_from, o.actor, o.verified_by
FROM vee.register_overlay AS o
WHERE o.usage_point = %(usage_point)s AND o.at BETWEEN %(start)s AND %(end)s
ORDER BY o.at, o.created_at, o.layer, o.version;

-- insert_machine_register
-- One version of what the machine says of a register.
INSERT INTO vee.register_overlay (usage_point, at, layer, version, created_at, kind, wh, method,
                                  rule_set, actor, reason, references_n, rests_from)
VALUES (%(usage_point)s, %(at)s, 'machine', %(version)s, %(created_at)s, %(kind)s, %(wh)s,
        %(method)s, %(rule_set)s, 'system:vee', %(reason)s, %(references)s, %(rests_from)s);
