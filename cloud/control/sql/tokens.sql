-- insert_token
-- One row; one a key, and one a meter and octets.
INSERT INTO control.token
    (source, idempotency_key, usage_point, meter, kind, opaque, taken_at, expires_at)
VALUES
    (%(source)s, %(key)s, %(usage_point)s, %(meter)s, %(kind)s, %(opaque)s, %(now)s,
     %(expires_at)s)
RETURNING id;

-- token
-- One row or none; no lock (the supply's row is the lock).
SELECT t.id, t.source, t.idempotency_key, t.usage_point, t.meter, t.kind, t.state, t.taken_at,
       t.expires_at, t.tries, t.cause, t.evidence, t.ended_at
FROM control.token AS t
WHERE t.id = %(token)s;

-- token_by_key
-- The token of a key with whether it says the same again, or none.
SELECT t.id, t.source, t.idempotency_key, t.usage_point, t.meter, t.kind, t.state, t.taken_at,
       t.expires_at, t.tries, t.cause, t.evidence, t.ended_at,
       (t.usage_point, t.kind, t.opaque) = (%(usage_point)s, %(kind)s, %(opaque)s) AS same
FROM control.token AS t
WHERE t.source = %(source)s AND t.idempotency_key = %(key)s;

-- tokens_of
-- Tokens of one supply, newest first.
SELECT t.id, t.source, t.idempotency_key, t.usage_point, t.meter, t.kind, t.state, t.taken_at,
       t.expires_at, t.tries, t.cause, t.evidence, t.ended_at
FROM control.token AS t
WHERE t.usage_point = %(usage_point)s
ORDER BY t.id DESC
LIMIT %(limit)s;

-- token_octets
-- What is carried: kind and octets.
SELECT t.kind, t.opaque FROM control.token AS t WHERE t.id = %(token)s;

-- tokens_due
-- The first open token of each meter where it waits, oldest first; no locks.
SELECT t.id, t.usage_point
FROM control.token AS t
WHERE t.state = 'waiting'
  AND NOT EXISTS (
      SELECT 1 FROM control.token AS o
      WHERE o.meter = t.meter AND o.ended_at IS NULL AND o.id < t.id
  )
ORDER BY t.id
LIMIT 200;

-- order_token
-- One row or none, when it still waits; locked through its supply.
UPDATE control.token AS t
SET state = 'ordered', tries = t.tries + 1
WHERE t.id = %(token)s AND t.state = 'waiting'
RETURNING t.id;

-- settle_token
-- One row or none, when it stands as the caller saw it; locked through its supply.
UPDATE control.token AS t
SET state = %(state)s, cause = %(cause)s, evidence = coalesce(%(evidence)s, t.evidence),
    ended_at = %(ended_at)s
WHERE t.id = %(token)s AND t.state = %(before)s
RETURNING t.id;

-- revive_token
-- One row or none, when it surely never came into the meter; locked through its supply.
UPDATE control.token AS t
SET state = 'waiting', cause = '', ended_at = NULL, expires_at = %(expires_at)s
WHERE t.id = %(token)s AND t.state IN ('expired', 'refused')
RETURNING t.id;
