-- insert_message
-- One row.
INSERT INTO payments.peer_message
    (channel, peer_txn_id, direction, at_wall, kept_until_wall, key_id, nonce, sealed)
VALUES (%(channel)s, %(txn)s, %(direction)s, %(at)s, %(until)s, %(key)s, %(nonce)s, %(sealed)s)
RETURNING id;

-- message_by_id
-- One kept message with its sealed words, or none; no locks.
SELECT m.id, m.channel, m.peer_txn_id, m.direction, m.at_wall, m.kept_until_wall, m.key_id,
       octet_length(m.sealed), m.nonce, m.sealed
FROM payments.peer_message AS m WHERE m.id = %(id)s;

-- messages_of
-- Kept messages of one channel in a span of wall time, of one payment where it is named, by number
-- and without their words; no locks.
SELECT m.id, m.channel, m.peer_txn_id, m.direction, m.at_wall, m.kept_until_wall, m.key_id,
       octet_length(m.sealed)
FROM payments.peer_message AS m
WHERE m.channel = %(channel)s AND m.id > %(after)s
  AND (%(txn)s::text = '' OR m.peer_txn_id = %(txn)s)
  AND m.at_wall >= %(start)s AND m.at_wall < %(end)s
ORDER BY m.id
LIMIT %(limit)s::int;

-- forget_messages
-- Messages whose years are over, some at a time, with their row locks.
DELETE FROM payments.peer_message AS m
WHERE m.id IN (SELECT o.id FROM payments.peer_message AS o WHERE o.kept_until_wall <= %(wall)s
               ORDER BY o.kept_until_wall LIMIT %(limit)s::int)
RETURNING m.id;
