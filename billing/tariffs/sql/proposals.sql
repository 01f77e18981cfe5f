-- insert_proposal
-- One row.
INSERT INTO tariffs.proposal
    (digest, code, number, currency, valid_from, document, reason, asked_by, asked_at)
VALUES (%(digest)s, %(code)s, %(number)s, %(currency)s, %(valid_from)s, %(document)s, %(reason)s,
        %(actor)s, %(now)s)
RETURNING id;

-- proposals
-- Proposals that wait, oldest first, or one of them by its number; no locks.
SELECT p.id, p.digest, p.code, p.number, p.currency, p.valid_from, p.document, p.reason,
       p.asked_by, p.asked_at
FROM tariffs.proposal AS p
WHERE (%(proposal)s::bigint IS NULL OR p.id = %(proposal)s::bigint)
  AND NOT EXISTS (SELECT 1 FROM tariffs.proposal_end AS e WHERE e.proposal = p.id)
ORDER BY p.id;

-- end_proposal
-- One row, or none when it has ended.
INSERT INTO tariffs.proposal_end (proposal, asked_by, outcome, actor, reason, at)
VALUES (%(proposal)s, %(asked_by)s, %(outcome)s, %(actor)s, %(reason)s, %(now)s)
ON CONFLICT ON CONSTRAINT proposal_end_pk DO NOTHING
RETURNING proposal;
