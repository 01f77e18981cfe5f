-- ensure_accounts
-- Inserts the ledger accounts that are missing. No locks beyond new rows.
INSERT INTO ledger.account (code, kind, currency, normal, kept, min_balance)
SELECT u.code, u.kind, u.currency, u.normal, u.kept, u.floor
FROM unnest(%(codes)s::text[], %(kinds)s::text[], %(currencies)s::text[], %(normals)s::smallint[],
            %(kept)s::boolean[], %(floors)s::numeric[])
    AS u (code, kind, currency, normal, kept, floor)
ORDER BY u.code, u.currency
ON CONFLICT (code, currency) DO NOTHING;

-- account_ids
-- Ids of the ledger accounts named by (code, currency); no locks.
SELECT a.code, a.currency, a.id
FROM unnest(%(codes)s::text[], %(currencies)s::text[]) AS u (code, currency)
JOIN ledger.account AS a ON a.code = u.code AND a.currency = u.currency;

-- insert_entries
-- Inserts entries whose key is new, in key order; waits for a rival that books the same key.
INSERT INTO ledger.entry
    (idem_key, req_hash, kind, value_date, booked_at, actor, reason, reverses, source_ref)
SELECT u.idem_key, u.req_hash, u.kind, u.value_date, %(now)s::timestamptz, u.actor, u.reason,
       u.reverses, u.source_ref
FROM unnest(%(keys)s::text[], %(hashes)s::bytea[], %(kinds)s::text[], %(dates)s::date[],
            %(actors)s::text[], %(reasons)s::text[], %(reverses)s::bigint[],
            %(sources)s::text[])
    AS u (idem_key, req_hash, kind, value_date, actor, reason, reverses, source_ref)
ORDER BY u.idem_key
ON CONFLICT (idem_key) DO NOTHING
RETURNING idem_key, id;

-- entries_by_key
-- Entries that exist under the keys; no locks.
SELECT e.idem_key, e.id, e.req_hash FROM ledger.entry AS e
WHERE e.idem_key = ANY (%(keys)s::text[]);

-- insert_postings
-- All legs of new entries in one statement; its trigger checks sums and locks kept accounts.
INSERT INTO ledger.posting (entry_id, seq, ledger_account_id, side, amount_micros, currency)
SELECT u.entry_id, u.seq, u.account, u.side, u.amount, u.currency
FROM unnest(%(entries)s::bigint[], %(seqs)s::smallint[], %(accounts)s::bigint[],
            %(sides)s::smallint[], %(amounts)s::bigint[], %(currencies)s::text[])
    AS u (entry_id, seq, account, side, amount, currency);

-- entry_legs
-- The legs of one entry, for its reversal; no locks.
SELECT a.code, a.kind, p.side, p.amount_micros, p.currency
FROM ledger.posting AS p JOIN ledger.account AS a ON a.id = p.ledger_account_id
WHERE p.entry_id = %(entry)s
ORDER BY p.seq;

-- statement_lines
-- Newest entries of one customer account with the balance after each; no locks.
SELECT x.id, x.kind, x.value_date, x.booked_at, x.amount, x.balance, x.reason, x.source_ref
FROM (
    SELECT e.id, e.kind, e.value_date, e.booked_at, e.reason, e.source_ref,
           sum(-p.side * p.amount_micros)::bigint AS amount,
           sum(sum(-p.side * p.amount_micros)) OVER (ORDER BY e.id)::bigint AS balance
    FROM ledger.account AS a
    JOIN ledger.posting AS p ON p.ledger_account_id = a.id
    JOIN ledger.entry AS e ON e.id = p.entry_id
    WHERE a.code = %(account)s AND a.kept AND a.kind = 'customer_prepayment'
    GROUP BY e.id
) AS x
ORDER BY x.id DESC
LIMIT %(limit)s::int;

-- posted_balance
-- One customer account's posted balance and newest entry; no locks.
SELECT b.posted_micros, b.version FROM ledger.customer_balance AS b
WHERE b.account = %(account)s;

-- posted_balances
-- The posted balances of the customer accounts named that have one; no locks.
SELECT b.account, b.posted_micros FROM ledger.customer_balance AS b
WHERE b.account = ANY (%(accounts)s::text[]);

-- receivables
-- What one customer account owes, a row per receivable; no locks.
SELECT a.kind, (a.posted_dr - a.posted_cr)::bigint
FROM ledger.account AS a
WHERE a.code = ANY (%(codes)s::text[]) AND a.kept;

-- lock_receivables
-- The same under the row locks of the account and its receivables, in order of their ids.
SELECT r.kind, r.owed FROM ledger.lock_receivables(%(account)s, %(codes)s::text[]) AS r;

-- lock_receivables_of
-- What many customer accounts owe, under the row locks of accounts and receivables by their ids.
SELECT r.code, r.owed FROM ledger.lock_receivables_of(%(accounts)s::text[], %(codes)s::text[]) AS r;

-- kept_balance
-- One kept account's balance on its normal side, or none; no locks.
SELECT a.normal * (a.posted_dr - a.posted_cr) FROM ledger.account AS a
WHERE a.code = %(code)s AND a.currency = %(currency)s AND a.kept;
