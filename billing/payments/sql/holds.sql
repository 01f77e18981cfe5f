-- channel_terms
-- The terms of one channel, or none; no locks.
SELECT c.channel, c.zone, c.cutover, c.hold_seconds, c.quote_seconds, c.policy, c.min_micros,
       c.max_micros, c.by_agent
FROM payments.channel AS c WHERE c.channel = %(channel)s;

-- upsert_channel
-- One row, its row lock.
INSERT INTO payments.channel
    (channel, zone, cutover, hold_seconds, quote_seconds, policy, min_micros, max_micros, by_agent)
VALUES (%(channel)s, %(zone)s, %(cutover)s, %(hold_seconds)s, %(quote_seconds)s, %(policy)s,
        %(min)s, %(max)s, %(by_agent)s)
ON CONFLICT (channel) DO UPDATE
SET zone = EXCLUDED.zone, cutover = EXCLUDED.cutover, hold_seconds = EXCLUDED.hold_seconds,
    quote_seconds = EXCLUDED.quote_seconds, policy = EXCLUDED.policy,
    min_micros = EXCLUDED.min_micros, max_micros = EXCLUDED.max_micros,
    by_agent = EXCLUDED.by_agent;

-- insert_quote
-- One row.
INSERT INTO payments.quote (channel, account, currency, due_micros, made_at, expires_at)
VALUES (%(channel)s, %(account)s, %(currency)s, %(due)s, %(now)s, %(expires)s)
RETURNING id;

-- quote_by_id
-- One row or none; no locks.
SELECT q.id, q.channel, q.account, q.due_micros, q.expires_at
FROM payments.quote AS q WHERE q.id = %(quote)s;

-- insert_hold
-- One row, or none when (channel, peer_txn_id) stands; waits for a rival that announces the same.
INSERT INTO payments.hold
    (channel, peer_txn_id, body_hash, state, account, amount_micros, currency, quote_id, peer_time,
     held_at, expires_at, posted_at, actor, office, counted_on, reserves)
VALUES (%(channel)s, %(peer_txn_id)s, %(body_hash)s, %(state)s, %(account)s, %(amount)s,
        %(currency)s, %(quote)s, %(peer_time)s, %(now)s, %(expires)s, %(posted_at)s, %(actor)s, %(office)s, %(counted_on)s, %(reserves)s)
ON CONFLICT (channel, peer_txn_id) DO NOTHING
RETURNING id;

-- insert_holds
-- Payments that are announced and posted at once, in the order of their ids; those that stand
-- already are left out, and a rival that announces the same is waited for.
INSERT INTO payments.hold
    (channel, peer_txn_id, body_hash, state, account, amount_micros, currency, peer_time, held_at,
     expires_at, posted_at, actor, office)
SELECT u.channel, u.peer_txn_id, u.body_hash, 'posted', u.account, u.amount, u.currency,
       u.peer_time, %(now)s, %(now)s, %(now)s, u.actor, u.office
FROM unnest(%(channels)s::text[], %(peer_txn_ids)s::text[], %(body_hashes)s::bytea[],
            %(accounts)s::text[], %(amounts)s::bigint[], %(currencies)s::text[],
            %(peer_times)s::timestamptz[], %(actors)s::text[], %(offices)s::text[])
    AS u (channel, peer_txn_id, body_hash, account, amount, currency, peer_time, actor, office)
ORDER BY u.channel, u.peer_txn_id
ON CONFLICT (channel, peer_txn_id) DO NOTHING
RETURNING channel, peer_txn_id;

-- hold_by_peer
-- One row or none; no locks.
SELECT h.id, h.channel, h.peer_txn_id, h.body_hash, h.state, h.account, h.amount_micros,
       h.currency, h.peer_time, h.held_at, h.expires_at, h.posted_at, h.ended_at, h.reason, h.actor,
       h.counted_on, h.reserves, h.office
FROM payments.hold AS h
WHERE h.channel = %(channel)s AND h.peer_txn_id = %(peer_txn_id)s;

-- lock_hold
-- One row or none, its row lock: every step of one payment waits for the one before.
SELECT h.id, h.channel, h.peer_txn_id, h.body_hash, h.state, h.account, h.amount_micros,
       h.currency, h.peer_time, h.held_at, h.expires_at, h.posted_at, h.ended_at, h.reason, h.actor,
       h.counted_on, h.reserves, h.office
FROM payments.hold AS h
WHERE h.channel = %(channel)s AND h.peer_txn_id = %(peer_txn_id)s
FOR UPDATE;

-- update_hold
-- One row that the caller has locked.
UPDATE payments.hold
SET state = %(state)s, posted_at = %(posted_at)s, ended_at = %(ended_at)s, reason = %(reason)s
WHERE id = %(id)s;

-- expire_holds
-- Holds whose time has run out, with their row locks; skips those being worked on.
UPDATE payments.hold AS h
SET state = 'expired', ended_at = %(now)s, reason = 'timeout'
WHERE h.id IN (
    SELECT w.id FROM payments.hold AS w
    WHERE w.state = 'held' AND w.expires_at <= %(now)s
    ORDER BY w.id LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING h.id, h.channel, h.peer_txn_id, h.body_hash, h.state, h.account, h.amount_micros,
       h.currency, h.peer_time, h.held_at, h.expires_at, h.posted_at, h.ended_at, h.reason, h.actor,
       h.counted_on, h.reserves, h.office;

-- holds_in_span
-- Announced payments of one channel by the peer's own time, in a stable order; no locks.
SELECT h.id, h.channel, h.peer_txn_id, h.body_hash, h.state, h.account, h.amount_micros,
       h.currency, h.peer_time, h.held_at, h.expires_at, h.posted_at, h.ended_at, h.reason, h.actor,
       h.counted_on, h.reserves, h.office
FROM payments.hold AS h
WHERE h.channel = %(channel)s AND h.peer_time >= %(start)s AND h.peer_time < %(end)s
ORDER BY h.peer_time, h.id;

-- insert_allocations
-- New rows of one payment; no locks.
INSERT INTO payments.allocation (receipt_no, seq, target, amount_micros, rule, entry_id)
SELECT %(receipt)s, u.seq, u.target, u.amount, %(rule)s, %(entry)s
FROM unnest(%(targets)s::text[], %(amounts)s::bigint[]) WITH ORDINALITY AS u (target, amount, seq);

-- allocation_entry
-- The entry that allocated a payment, or none; no locks.
SELECT a.entry_id FROM payments.allocation AS a WHERE a.receipt_no = %(receipt)s LIMIT 1;

-- insert_nonce
-- One row, or none when the nonce was seen.
INSERT INTO payments.nonce (key_id, nonce, at_wall) VALUES (%(key)s, %(nonce)s, %(wall)s)
ON CONFLICT (key_id, nonce) DO NOTHING
RETURNING nonce;

-- forget_nonces
-- Nonces older than the window, with their row locks.
DELETE FROM payments.nonce AS n WHERE n.at_wall < %(before)s;
