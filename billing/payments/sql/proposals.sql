-- insert_proposal
-- One row.
INSERT INTO payments.proposal (subject, outcome, account, reason, actor, at)
VALUES (%(subject)s, %(outcome)s, %(account)s, %(reason)s, %(actor)s, %(now)s);

-- newest_proposals
-- The newest proposal of each subject named; no locks.
SELECT DISTINCT ON (p.subject) p.subject, p.outcome, p.account, p.reason, p.actor, p.at, p.id
FROM payments.proposal AS p
WHERE p.subject = ANY (%(subjects)s::text[])
ORDER BY p.subject, p.id DESC;

-- open_differences
-- Differences that wait for people, oldest reconciliation first; no locks.
SELECT d.reconciliation, r.channel, d.peer_txn_id, d.kind, d.ours_micros, d.theirs_micros
FROM payments.difference AS d
JOIN payments.reconciliation AS r ON r.id = d.reconciliation
WHERE d.outcome = 'open'
ORDER BY d.reconciliation, d.peer_txn_id
LIMIT %(limit)s::int;

-- newest_reconciliations
-- Reconciliations, newest first, each with how many differences it found and how many wait.
SELECT r.id, r.channel, r.starts_at, r.ends_at, r.matched, r.ours_micros, r.theirs_micros,
       r.made_at, count(d.peer_txn_id),
       count(*) FILTER (WHERE d.outcome = 'open')
FROM payments.reconciliation AS r
LEFT JOIN payments.difference AS d ON d.reconciliation = r.id
GROUP BY r.id
ORDER BY r.id DESC
LIMIT %(limit)s::int;
