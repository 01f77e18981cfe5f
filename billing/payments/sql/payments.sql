-- insert_payment
-- One row; its ledger entry's key already serialised rivals.
INSERT INTO payments.payment
    (receipt_no, channel, peer_txn_id, body_hash, state, account, usage_point, amount_micros,
     currency, peer_time, received_at, actor, entry_id, available_micros)
VALUES (%(receipt_no)s, %(channel)s, %(peer_txn_id)s, %(body_hash)s, %(state)s, %(account)s,
        %(usage_point)s, %(amount)s, %(currency)s, %(peer_time)s, %(now)s, %(actor)s,
        %(entry_id)s, %(available)s);

-- payment_by_peer
-- One row or none; no locks.
SELECT p.receipt_no, p.channel, p.peer_txn_id, p.body_hash, p.state, p.account, p.usage_point,
       p.amount_micros, p.currency, p.peer_time, p.received_at, p.actor, p.entry_id,
       p.available_micros
FROM payments.payment AS p
WHERE p.channel = %(channel)s AND p.peer_txn_id = %(peer_txn_id)s;

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
