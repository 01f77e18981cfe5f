-- The newest register of every usage point, under a number that columns can be indexed by. It is
-- kept by the statements that write registers, so a sweep of millions asks for what moved.
CREATE TABLE usage.newest (
    point bigint GENERATED ALWAYS AS IDENTITY,
    usage_point text NOT NULL,
    at_ms bigint NOT NULL,
    cumulative_wh bigint NOT NULL,
    questionable boolean NOT NULL,
    moved xid8 NOT NULL,
    CONSTRAINT newest_pk PRIMARY KEY (point),
    CONSTRAINT newest_usage_point_unique UNIQUE (usage_point)
) WITH (fillfactor = 70);
COMMENT ON COLUMN usage.newest.at_ms IS 'ms since 1970; -1 where no register has come yet';
COMMENT ON COLUMN usage.newest.moved IS 'transaction that last changed the row';

INSERT INTO usage.newest (usage_point, at_ms, cumulative_wh, questionable, moved)
SELECT DISTINCT ON (r.usage_point) r.usage_point, (extract(epoch FROM r.at) * 1000)::bigint,
       r.cumulative_wh, r.quality = 'questionable', pg_current_xact_id()
FROM usage.register AS r
ORDER BY r.usage_point, r.at DESC;

-- Definer's rights: nobody writes the newest register by any other road.
CREATE FUNCTION usage.note_newest() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = usage, pg_temp AS $$
BEGIN
    -- one order of locks for everybody
    PERFORM 1 FROM usage.newest AS n
    WHERE n.usage_point IN (SELECT f.usage_point FROM fresh AS f)
    ORDER BY n.usage_point FOR UPDATE;
    UPDATE usage.newest AS n
    SET at_ms = f.at_ms, cumulative_wh = f.cumulative_wh, questionable = f.questionable,
        moved = pg_current_xact_id()
    FROM (
        SELECT DISTINCT ON (r.usage_point) r.usage_point,
               (extract(epoch FROM r.at) * 1000)::bigint AS at_ms, r.cumulative_wh,
               r.quality = 'questionable' AS questionable
        FROM fresh AS r ORDER BY r.usage_point, r.at DESC
    ) AS f
    WHERE n.usage_point = f.usage_point AND f.at_ms >= n.at_ms;
    -- an insert that only conflicts would use up numbers, so known points are left out first
    INSERT INTO usage.newest AS n (usage_point, at_ms, cumulative_wh, questionable, moved)
    SELECT DISTINCT ON (r.usage_point) r.usage_point, (extract(epoch FROM r.at) * 1000)::bigint,
           r.cumulative_wh, r.quality = 'questionable', pg_current_xact_id()
    FROM fresh AS r
    WHERE NOT EXISTS (SELECT 1 FROM usage.newest AS k WHERE k.usage_point = r.usage_point)
    ORDER BY r.usage_point, r.at DESC
    ON CONFLICT (usage_point) DO UPDATE
    SET at_ms = excluded.at_ms, cumulative_wh = excluded.cumulative_wh,
        questionable = excluded.questionable, moved = excluded.moved
    WHERE n.at_ms <= excluded.at_ms;
    RETURN NULL;
END
$$;
CREATE TRIGGER register_came AFTER INSERT ON usage.register
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION usage.note_newest();
CREATE TRIGGER register_corrected AFTER UPDATE ON usage.register
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION usage.note_newest();

-- A derivation begins anew by deleting: what is left is the newest, or none.
CREATE FUNCTION usage.forget_newest() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = usage, pg_temp AS $$
BEGIN
    UPDATE usage.newest AS n
    SET at_ms = coalesce(f.at_ms, -1), cumulative_wh = coalesce(f.cumulative_wh, 0),
        questionable = coalesce(f.questionable, false), moved = pg_current_xact_id()
    FROM (SELECT DISTINCT g.usage_point FROM gone AS g) AS g
    LEFT JOIN LATERAL (
        SELECT (extract(epoch FROM r.at) * 1000)::bigint AS at_ms, r.cumulative_wh,
               r.quality = 'questionable' AS questionable
        FROM usage.register AS r WHERE r.usage_point = g.usage_point
        ORDER BY r.at DESC LIMIT 1
    ) AS f ON true
    WHERE n.usage_point = g.usage_point;
    RETURN NULL;
END
$$;
CREATE TRIGGER register_gone AFTER DELETE ON usage.register
    REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION usage.forget_newest();

-- The number of a usage point, given to it now where it has none.
CREATE FUNCTION usage.number_of(wanted text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = usage, pg_temp AS $$
DECLARE
    found_number bigint;
BEGIN
    SELECT n.point INTO found_number FROM usage.newest AS n WHERE n.usage_point = wanted;
    IF found_number IS NULL THEN
        INSERT INTO usage.newest AS n (usage_point, at_ms, cumulative_wh, questionable, moved)
        VALUES (wanted, -1, 0, false, pg_current_xact_id())
        ON CONFLICT (usage_point) DO UPDATE SET at_ms = n.at_ms
        RETURNING n.point INTO found_number;
    END IF;
    RETURN found_number;
END
$$;
REVOKE EXECUTE ON FUNCTION usage.number_of(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION usage.number_of(text) TO meterloop_billing;
GRANT SELECT ON usage.newest TO meterloop_billing, meterloop_portal, meterloop_ingest;
