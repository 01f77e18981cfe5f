-- unbalanced_entries
-- Entries whose postings do not sum to zero in some currency, or that have none; no locks.
SELECT e.id
FROM ledger.entry AS e
LEFT JOIN (
    SELECT p.entry_id, p.currency, sum(p.side * p.amount_micros::numeric) AS total
    FROM ledger.posting AS p GROUP BY p.entry_id, p.currency
) AS s ON s.entry_id = e.id
WHERE s.entry_id IS NULL OR s.total <> 0
ORDER BY e.id;

-- wrong_balances
-- Kept balances that differ from the sum of their postings; no locks.
SELECT a.code
FROM ledger.account AS a
LEFT JOIN (
    SELECT p.ledger_account_id,
           coalesce(sum(p.amount_micros) FILTER (WHERE p.side = 1), 0) AS dr,
           coalesce(sum(p.amount_micros) FILTER (WHERE p.side = -1), 0) AS cr
    FROM ledger.posting AS p GROUP BY p.ledger_account_id
) AS s ON s.ledger_account_id = a.id
WHERE a.kept AND (a.posted_dr <> coalesce(s.dr, 0) OR a.posted_cr <> coalesce(s.cr, 0))
ORDER BY a.code;

-- lock_chain
-- Takes the one advisory lock of the ledger's chain until commit.
SELECT pg_advisory_xact_lock(7305117003);

-- last_link
-- The newest link, or none; no locks.
SELECT l.position, l.entry_id, l.day, l.digest FROM ledger.link AS l
ORDER BY l.position DESC LIMIT 1;

-- take_unsealed
-- Removes the oldest entries of the queue with their row locks; only sealing does so.
DELETE FROM ledger.unsealed AS u
WHERE u.entry_id IN (
    SELECT q.entry_id FROM ledger.unsealed AS q ORDER BY q.entry_id LIMIT %(limit)s::int)
RETURNING u.entry_id;

-- insert_links
-- New links of the chain; no locks beyond new rows.
INSERT INTO ledger.link (position, entry_id, day, digest)
SELECT u.position, u.entry_id, u.day, u.digest
FROM unnest(%(positions)s::bigint[], %(entries)s::bigint[], %(days)s::date[], %(digests)s::bytea[])
    AS u (position, entry_id, day, digest);

-- insert_buckets
-- Sums per account and minute of entries just sealed, on accounts that keep no balance.
INSERT INTO ledger.account_bucket (ledger_account_id, minute, upto_position, dr, cr)
SELECT p.ledger_account_id, date_trunc('minute', e.booked_at), %(upto)s::bigint,
       coalesce(sum(p.amount_micros) FILTER (WHERE p.side = 1), 0),
       coalesce(sum(p.amount_micros) FILTER (WHERE p.side = -1), 0)
FROM ledger.posting AS p
JOIN ledger.entry AS e ON e.id = p.entry_id
JOIN ledger.account AS a ON a.id = p.ledger_account_id
WHERE p.entry_id = ANY (%(entries)s::bigint[]) AND NOT a.kept
GROUP BY p.ledger_account_id, date_trunc('minute', e.booked_at);

-- booked_by_id
-- Legs of the entries named, in order of entry and leg; no locks.
SELECT e.id, e.idem_key, e.req_hash, e.kind, e.value_date, e.booked_at, e.actor, e.reason,
       e.reverses, e.source_ref, p.seq, a.code, a.kind, p.side, p.amount_micros, p.currency
FROM ledger.entry AS e
JOIN ledger.posting AS p ON p.entry_id = e.id
JOIN ledger.account AS a ON a.id = p.ledger_account_id
WHERE e.id = ANY (%(entries)s::bigint[])
ORDER BY e.id, p.seq;

-- links_page
-- Links after a position, in order; no locks.
SELECT l.position, l.entry_id, l.day, l.digest FROM ledger.link AS l
WHERE l.position > %(after)s::bigint
ORDER BY l.position
LIMIT %(limit)s::int;

-- links_at
-- The links at some positions; no locks.
SELECT l.position, l.entry_id, l.day, l.digest FROM ledger.link AS l
WHERE l.position = ANY (%(positions)s::bigint[]);

-- day_roots
-- The last link of each day and how many the day has; no locks.
SELECT DISTINCT ON (l.day) l.day, l.position, count(*) OVER (PARTITION BY l.day), l.digest
FROM ledger.link AS l
ORDER BY l.day, l.position DESC;

-- unlinked_entries
-- Entries of which neither chain nor queue knows; no locks.
SELECT e.id FROM ledger.entry AS e
WHERE NOT EXISTS (SELECT 1 FROM ledger.link AS l WHERE l.entry_id = e.id)
  AND NOT EXISTS (SELECT 1 FROM ledger.unsealed AS u WHERE u.entry_id = e.id)
ORDER BY e.id;

-- count_book
-- How many entries and links there are; no locks.
SELECT (SELECT count(*) FROM ledger.entry), (SELECT count(*) FROM ledger.link);

-- account_sums
-- Every account's debits and credits: kept ones from their rows, the rest from their buckets and
-- from what is not sealed yet; no locks.
SELECT a.code, a.kind, a.currency,
       CASE WHEN a.kept THEN a.posted_dr ELSE coalesce(s.dr, 0) + coalesce(f.dr, 0) END,
       CASE WHEN a.kept THEN a.posted_cr ELSE coalesce(s.cr, 0) + coalesce(f.cr, 0) END
FROM ledger.account AS a
LEFT JOIN (
    SELECT b.ledger_account_id, sum(b.dr) AS dr, sum(b.cr) AS cr
    FROM ledger.account_bucket AS b GROUP BY b.ledger_account_id
) AS s ON s.ledger_account_id = a.id
LEFT JOIN (
    SELECT p.ledger_account_id,
           sum(p.amount_micros) FILTER (WHERE p.side = 1) AS dr,
           sum(p.amount_micros) FILTER (WHERE p.side = -1) AS cr
    FROM ledger.unsealed AS u JOIN ledger.posting AS p ON p.entry_id = u.entry_id
    GROUP BY p.ledger_account_id
) AS f ON f.ledger_account_id = a.id
ORDER BY a.code, a.currency;

-- wrong_buckets
-- Accounts whose buckets and unsealed legs are not the sum of their postings; no locks.
SELECT a.code
FROM ledger.account AS a
LEFT JOIN (
    SELECT b.ledger_account_id, sum(b.dr) AS dr, sum(b.cr) AS cr
    FROM ledger.account_bucket AS b GROUP BY b.ledger_account_id
) AS s ON s.ledger_account_id = a.id
LEFT JOIN (
    SELECT p.ledger_account_id,
           sum(p.amount_micros) FILTER (WHERE p.side = 1) AS dr,
           sum(p.amount_micros) FILTER (WHERE p.side = -1) AS cr
    FROM ledger.posting AS p
    WHERE NOT EXISTS (SELECT 1 FROM ledger.unsealed AS u WHERE u.entry_id = p.entry_id)
    GROUP BY p.ledger_account_id
) AS t ON t.ledger_account_id = a.id
WHERE NOT a.kept
  AND (coalesce(s.dr, 0) <> coalesce(t.dr, 0) OR coalesce(s.cr, 0) <> coalesce(t.cr, 0))
ORDER BY a.code;

-- sums_before
-- What every account's postings of value dates before a day come to; no locks.
SELECT a.code, a.kind, a.currency,
       coalesce(sum(p.amount_micros) FILTER (WHERE p.side = 1), 0),
       coalesce(sum(p.amount_micros) FILTER (WHERE p.side = -1), 0)
FROM ledger.posting AS p
JOIN ledger.entry AS e ON e.id = p.entry_id
JOIN ledger.account AS a ON a.id = p.ledger_account_id
WHERE e.value_date < %(before)s::date
GROUP BY a.code, a.kind, a.currency
ORDER BY a.code, a.currency;

-- entries_page
-- Ids of entries with a value date in a span, after a place in that order; no locks.
SELECT e.value_date, e.id FROM ledger.entry AS e
WHERE e.value_date >= %(start)s::date AND e.value_date < %(end)s::date
  AND (e.value_date, e.id) > (%(after_day)s::date, %(after_id)s::bigint)
ORDER BY e.value_date, e.id
LIMIT %(limit)s::int;

-- value_span
-- First and last value date of the book, and how many entries lie in a span; no locks.
SELECT min(e.value_date), max(e.value_date),
       count(*) FILTER (
           WHERE e.value_date >= %(start)s::date AND e.value_date < %(end)s::date)
FROM ledger.entry AS e;
