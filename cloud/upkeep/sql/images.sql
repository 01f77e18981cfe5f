-- insert_image
-- One row, or none when the same octets are known.
INSERT INTO upkeep.image
    (sha256, model, version, identifier, octets, block_octets, uploaded_by, uploaded_at)
VALUES
    (%(sha256)s, %(model)s, %(version)s, %(identifier)s, %(octets)s, %(block_octets)s, %(actor)s,
     %(now)s)
ON CONFLICT ON CONSTRAINT image_pk DO NOTHING
RETURNING sha256;

-- insert_image_blocks
-- One row for each block.
INSERT INTO upkeep.image_block (image, index, octets)
SELECT %(sha256)s, (b.number - 1)::integer, b.octets
FROM unnest(%(blocks)s::bytea[]) WITH ORDINALITY AS b (octets, number);

-- image
-- One row or none; no lock, for images never change.
SELECT i.sha256, i.model, i.version, i.identifier, i.octets, i.block_octets, i.uploaded_by,
       i.uploaded_at
FROM upkeep.image AS i
WHERE i.sha256 = %(sha256)s;

-- images
-- Every image, newest first; no locks.
SELECT i.sha256, i.model, i.version, i.identifier, i.octets, i.block_octets, i.uploaded_by,
       i.uploaded_at
FROM upkeep.image AS i
ORDER BY i.uploaded_at DESC, i.sha256
LIMIT 200;

-- block_for
-- One row, when a concentrator has an open errand for that image; no locks.
SELECT b.octets, i.block_octets
FROM upkeep.image AS i
LEFT JOIN upkeep.image_block AS b ON b.image = i.sha256 AND b.index = %(index)s
WHERE i.sha256 = %(sha256)s AND EXISTS (
    SELECT 1
    FROM upkeep.errand AS e
    JOIN upkeep.rollout AS r ON r.id = e.rollout
    WHERE r.image = i.sha256 AND e.concentrator = %(concentrator)s AND e.ended_at IS NULL
      AND e.signature IS NOT NULL
);
