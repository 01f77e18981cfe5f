-- Roll-ups by several workers: the network is in parts, a worker holds the advisory locks of those it
-- works on, and whole lists of points wait as one row a part instead of a row a point.
ALTER TABLE rollups.dirty
    ADD COLUMN part smallint NOT NULL
        GENERATED ALWAYS AS ((hashtext(usage_point) & 63)::smallint) STORED;
CREATE INDEX dirty_part ON rollups.dirty (part, due_at);
DROP INDEX rollups.dirty_due;

-- Points of one part that wait together: for a civil day that ended, or for a reading cycle that was
-- closed. A row is written once and goes when its points have their roll-ups.
CREATE TABLE rollups.lot (
    no bigint GENERATED ALWAYS AS IDENTITY,
    part smallint NOT NULL,
    due_at timestamptz NOT NULL,
    noted_at timestamptz NOT NULL,
    day date,
    cycle bigint,
    usage_points text[] NOT NULL,
    CONSTRAINT lot_pk PRIMARY KEY (no),
    CONSTRAINT lot_part_known CHECK (part BETWEEN 0 AND 63),
    CONSTRAINT lot_of_a_day_or_a_cycle CHECK ((day IS NULL) <> (cycle IS NULL)),
    CONSTRAINT lot_not_empty CHECK (cardinality(usage_points) > 0)
);
CREATE INDEX lot_part ON rollups.lot (part, due_at);

GRANT SELECT ON rollups.lot TO meterloop_ingest, meterloop_billing, meterloop_portal;
GRANT INSERT, DELETE ON rollups.lot TO meterloop_ingest;
