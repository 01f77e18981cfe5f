-- insert_payments
-- One row for each; their ledger entries' keys already serialised rivals.
INSERT INTO payments.payment
    (receipt_no, channel, peer_txn_id, body_hash, state, account, usage_point, amount_micros,
     currency, peer_time, received_at, actor, entry_id, available_micros)
SELECT u.receipt_no, u.channel, u.peer_txn_id, u.body_hash, u.state, u.account, u.usage_point,
       u.amount, u.currency, u.peer_time, u.received_at, u.actor, u.entry_id, u.available
FROM unnest(%(receipt_nos)s::text[], %(channels)s::text[], %(peer_txn_ids)s::text[],
            %(body_hashes)s::bytea[], %(states)s::text[], %(accounts)s::text[],
            %(usage_points)s::text[], %(amounts)s::bigint[], %(currencies)s::text[],
            %(peer_times)s::timestamptz[], %(received_ats)s::timestamptz[], %(actors)s::text[],
            %(entry_ids)s::bigint[], %(availables)s::bigint[])
    AS u (receipt_no, channel, peer_txn_id, body_hash, state, account, usage_point, amount,
          currency, peer_time, received_at, actor, entry_id, available)
ORDER BY u.receipt_no;

-- payment_by_peer
-- One row or none; no locks.
SELECT p.receipt_no, p.channel, p.peer_txn_id, p.body_hash, p.state, p.account, p.usage_point,
       p.amount_micros, p.currency, p.peer_time, p.received_at, p.actor, p.entry_id,
       p.available_micros
FROM payments.payment AS p
WHERE p.channel = %(channel)s AND p.peer_txn_id = %(peer_txn_id)s;

-- posted_by_peers
-- Of the payments named, those that stand as they were posted; no locks.
SELECT p.receipt_no, p.channel, p.peer_txn_id, p.body_hash, p.state, p.account, p.usage_point,
       p.amount_micros, p.currency, p.peer_time, p.received_at, p.actor, p.entry_id,
       p.available_micros
FROM unnest(%(channels)s::text[], %(peer_txn_ids)s::text[]) AS u (channel, peer_txn_id)
JOIN payments.hold AS h ON h.channel = u.channel AND h.peer_txn_id = u.peer_txn_id
JOIN payments.payment AS p ON p.channel = h.channel AND p.peer_txn_id = h.peer_txn_id
WHERE h.state = 'posted' AND p.state = 'posted';

-- payments_of_account
-- Newest payments of one account; no locks.
SELECT p.receipt_no, p.channel, p.peer_txn_id, p.body_hash, p.state, p.account, p.usage_point,
       p.amount_micros, p.currency, p.peer_time, p.received_at, p.actor, p.entry_id,
       p.available_micros
FROM payments.payment AS p
WHERE p.account = %(account)s
ORDER BY p.entry_id DESC
LIMIT %(limit)s::int;

-- payments_unlike_ledger
-- Posted payments whose entry did not credit their account with their amount; no locks.
SELECT p.receipt_no
FROM payments.payment AS p
LEFT JOIN ledger.customer_movement AS m ON m.entry_id = p.entry_id AND m.account = p.account
WHERE p.state = 'posted' AND coalesce(m.amount_micros, 0) <> p.amount_micros
ORDER BY p.receipt_no;

-- payments_total
-- Number and sum of payments of each channel, currency and state; no locks.
SELECT p.channel, p.currency, p.state, count(*), sum(p.amount_micros)
FROM payments.payment AS p
GROUP BY p.channel, p.currency, p.state
ORDER BY p.channel, p.currency, p.state;
