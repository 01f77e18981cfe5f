-- What moved: a row for each statement that wrote newest registers, with their octets, so that a
-- sweep of the few that moved does not look at all for them. It hangs on usage.newest itself and
-- so serves every writer. Whoever has read it lets go of it; what is gone is still to be found in
-- usage.newest by its transaction.
CREATE TABLE usage.moves (
    id bigint GENERATED ALWAYS AS IDENTITY,
    moved xid8 NOT NULL,
    points integer NOT NULL,
    octets bytea NOT NULL,
    CONSTRAINT moves_pk PRIMARY KEY (id),
    CONSTRAINT moves_equally_long CHECK (octet_length(octets) = 24 * points)
);
-- numbers do not shrink: keep them as they are
ALTER TABLE usage.moves ALTER COLUMN octets SET STORAGE EXTERNAL;
COMMENT ON COLUMN usage.moves.id IS
    'of two rows with the same point the larger is newer: its writer held the point''s row lock';
COMMENT ON COLUMN usage.moves.octets IS 'usage.newest.octets of each point, one after another';

-- Definer's rights: nobody writes it by any other road.
CREATE FUNCTION usage.note_moves() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = usage, pg_temp AS $$
BEGIN
    INSERT INTO usage.moves (moved, points, octets)
    SELECT pg_current_xact_id(), count(*), string_agg(f.octets, '')
    FROM fresh AS f HAVING count(*) > 0;
    RETURN NULL;
END
$$;
CREATE TRIGGER newest_came AFTER INSERT ON usage.newest
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION usage.note_moves();
CREATE TRIGGER newest_moved AFTER UPDATE ON usage.newest
    REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION usage.note_moves();

-- From which transaction on the moves are complete. No writer is under way here, for the triggers
-- have just been made under a lock that waits for them.
CREATE TABLE usage.moves_since (
    single boolean NOT NULL DEFAULT true,
    moved xid8 NOT NULL,
    CONSTRAINT moves_since_pk PRIMARY KEY (single),
    CONSTRAINT moves_since_only_one CHECK (single)
);
INSERT INTO usage.moves_since (moved) VALUES (pg_snapshot_xmax(pg_current_snapshot()));

-- Lets go of what moved before a transaction; the caller has read it or does not want it.
CREATE FUNCTION usage.forget_moves(before xid8) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = usage, pg_temp AS $$
BEGIN
    UPDATE usage.moves_since AS s SET moved = before WHERE s.moved < before;
    DELETE FROM usage.moves AS m WHERE m.moved < before;
END
$$;
REVOKE EXECUTE ON FUNCTION usage.forget_moves(xid8) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION usage.forget_moves(xid8) TO meterloop_billing;
GRANT SELECT ON usage.moves, usage.moves_since TO meterloop_billing;
