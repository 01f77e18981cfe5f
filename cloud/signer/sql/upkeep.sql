-- unsigned_errands
-- Errands that wait for a signature, oldest first; no locks.
SELECT e.id
FROM upkeep.errand AS e
WHERE e.ended_at IS NULL AND e.body IS NOT NULL AND e.signature IS NULL
  AND e.signer_refusal IS NULL
ORDER BY e.issued_at, e.id
LIMIT 100;

-- unsigned_errand
-- One row or none: an errand with what its rollout says, and whether the image is what it says.
SELECT e.id, e.kind, e.concentrator, e.meter, e.sealed, e.source, e.revision, e.body, e.expires,
       r.kind AS rollout_kind, r.state, r.requested_by, coalesce(r.approved_by, '') AS approved_by,
       r.until, r.settings, r.activate, r.activate_at, i.sha256, i.octets, i.identifier,
       i.block_octets,
       EXISTS (
           SELECT 1
           FROM upkeep.errand AS b
           JOIN upkeep.rollout AS br ON br.id = b.rollout
           WHERE b.id = e.source AND b.meter = e.meter AND b.kind = 'firmware'
             AND b.state = 'done' AND br.image = r.image
       ) AS source_fits,
       (SELECT sha256(string_agg(b.octets, ''::bytea ORDER BY b.index)) = i.sha256
               AND sum(octet_length(b.octets)) = i.octets
        FROM upkeep.image_block AS b WHERE b.image = i.sha256) AS whole
FROM upkeep.errand AS e
JOIN upkeep.rollout AS r ON r.id = e.rollout
LEFT JOIN upkeep.image AS i ON i.sha256 = r.image
WHERE e.id = %(errand)s AND e.ended_at IS NULL AND e.body IS NOT NULL AND e.signature IS NULL
  AND e.signer_refusal IS NULL;

-- lock_upkeep_counts
-- No rows; signers count one after another until the transaction ends.
SELECT pg_advisory_xact_lock(7305117014);

-- upkeep_allowance
-- One row: this signer's own limit on a kind, and what it signed of it lately, from its memory.
-- An activation counts with the firmware that it activates.
SELECT CASE %(kind)s WHEN 'configuration' THEN p.max_configurations_per_day
                     WHEN 'rekey' THEN p.max_rekeys_per_day
                     ELSE p.max_firmware_per_day END AS most,
       (SELECT count(*) FROM signer.upkeep_signature AS g
        WHERE g.at > %(day_ago)s AND (CASE g.kind WHEN 'activation' THEN 'firmware' ELSE g.kind END)
              = (CASE %(kind)s WHEN 'activation' THEN 'firmware' ELSE %(kind)s END)) AS signed
FROM signer.upkeep_policy AS p;

-- write_errand_signature
-- One row or none, when the octets are still those that were judged.
UPDATE upkeep.errand AS e
SET signature = %(signature)s, signed_at = %(now)s
WHERE e.id = %(errand)s AND e.body = %(body)s AND e.signature IS NULL AND e.ended_at IS NULL
RETURNING e.id;

-- insert_upkeep_signature
-- One row; the same errand twice is an error.
INSERT INTO signer.upkeep_signature (errand, kind, target, at, wall_at, digest)
VALUES (%(errand)s, %(kind)s, %(target)s, %(now)s, %(wall_now)s, %(digest)s);

-- write_errand_refusal
-- One row or none.
UPDATE upkeep.errand AS e
SET signer_refusal = %(cause)s
WHERE e.id = %(errand)s AND e.signature IS NULL AND e.ended_at IS NULL;

-- insert_upkeep_refusal
-- One row.
INSERT INTO signer.upkeep_refusal (errand, cause, at)
VALUES (%(errand)s, %(cause)s, %(now)s);
