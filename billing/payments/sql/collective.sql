-- insert_collective_payment
-- One row, or none when that payment is known.
INSERT INTO payments.collective_payment
    (channel, peer_txn_id, collective, currency, amount_micros, accounts, shares_micros, actor, at)
VALUES (%(channel)s, %(peer_txn_id)s, %(collective)s, %(currency)s, %(amount)s, %(accounts)s,
        %(shares)s, %(actor)s, %(now)s)
ON CONFLICT ON CONSTRAINT collective_payment_pk DO NOTHING
RETURNING channel;

-- collective_payment
-- One payment of a company, or none; no locks.
SELECT k.collective, k.currency, k.amount_micros, k.accounts, k.shares_micros
FROM payments.collective_payment AS k
WHERE k.channel = %(channel)s AND k.peer_txn_id = %(peer_txn_id)s;

-- collective_payments
-- The newest payments of a company; no locks.
SELECT k.channel, k.peer_txn_id, k.currency, k.amount_micros, k.accounts, k.shares_micros, k.at
FROM payments.collective_payment AS k
WHERE k.collective = %(collective)s
ORDER BY k.at DESC, k.peer_txn_id LIMIT 50;
