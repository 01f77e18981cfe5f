-- insert_command
-- One row; the guard locks the supply and refuses what must never be ordered.
INSERT INTO control.command
    (usage_point, transformer, meter, concentrator, verb, request, epoch, cuts_left, issued_by,
     reason, issued_at, local_day, keep_release, token)
VALUES
    (%(usage_point)s, %(transformer)s, %(meter)s, %(concentrator)s, %(verb)s, %(request)s,
     %(epoch)s, %(cuts_left)s, %(issued_by)s, %(reason)s, %(now)s, %(local_day)s,
     %(keep_release)s, %(token)s)
RETURNING id;

-- command
-- One row or none; no lock (the supply's row is the lock).
SELECT c.id, c.usage_point, c.meter, c.concentrator, c.verb, c.state, c.request, c.epoch,
       c.issued_by, c.issued_at, c.expires, c.ended_at, c.end_reason, c.evidence, c.token,
       c.keep_release
FROM control.command AS c
WHERE c.id = %(command)s;

-- open_command
-- The open command of one verb for a supply, or none.
SELECT c.id, c.usage_point, c.meter, c.concentrator, c.verb, c.state, c.request, c.epoch,
       c.issued_by, c.issued_at, c.expires, c.ended_at, c.end_reason, c.evidence, c.token,
       c.keep_release
FROM control.command AS c
WHERE c.usage_point = %(usage_point)s AND c.verb = %(verb)s AND c.ended_at IS NULL;

-- commands_of
-- Commands of one supply, newest first.
SELECT c.id, c.usage_point, c.meter, c.concentrator, c.verb, c.state, c.request, c.epoch,
       c.issued_by, c.issued_at, c.expires, c.ended_at, c.end_reason, c.evidence, c.token,
       c.keep_release
FROM control.command AS c
WHERE c.usage_point = %(usage_point)s
ORDER BY c.lock_seq DESC
LIMIT 50;

-- unprepared_commands
-- Open commands without a body, oldest first; no locks.
SELECT c.id, c.usage_point, c.meter, c.concentrator, c.verb, c.state, c.request, c.epoch,
       c.issued_by, c.issued_at, c.expires, c.ended_at, c.end_reason, c.evidence, c.token,
       c.keep_release
FROM control.command AS c
WHERE c.ended_at IS NULL AND c.body IS NULL
ORDER BY c.lock_seq
LIMIT 200;

-- set_body
-- One row or none, when it is open and has none yet.
UPDATE control.command AS c
SET body = %(body)s, not_before = %(not_before)s, expires = %(expires)s
WHERE c.id = %(command)s AND c.body IS NULL AND c.ended_at IS NULL;

-- sendable_commands
-- Signed commands that the edge has not confirmed, oldest first; no locks.
SELECT c.id, c.concentrator, c.body, c.signature, c.state, c.expires
FROM control.command AS c
WHERE c.ended_at IS NULL AND c.signature IS NOT NULL AND c.state IN ('issued', 'dispatched')
ORDER BY c.lock_seq
LIMIT 200;

-- signed_goes
-- Signed goes of cuts that wait for them, and released ones not yet answered; no locks.
SELECT g.command, c.usage_point, c.concentrator, g.body, g.signature, g.made_at, g.released_at,
       c.expires
FROM control.go AS g
JOIN control.command AS c ON c.id = g.command
WHERE c.ended_at IS NULL AND g.signature IS NOT NULL AND c.state IN ('challenged', 'released')
ORDER BY c.lock_seq
LIMIT 200;

-- refused_by_signer
-- Open commands that the signer would not sign, or whose go it would not sign; no locks.
SELECT c.id, c.usage_point, coalesce(c.signer_refusal, g.signer_refusal) AS cause
FROM control.command AS c
LEFT JOIN control.go AS g ON g.command = c.id
WHERE c.ended_at IS NULL AND (c.signer_refusal IS NOT NULL OR g.signer_refusal IS NOT NULL)
ORDER BY c.lock_seq
LIMIT 200;

-- open_past
-- Open commands whose validity ended before an instant; no locks.
SELECT c.id, c.usage_point
FROM control.command AS c
WHERE c.ended_at IS NULL AND c.expires < %(before)s
ORDER BY c.lock_seq
LIMIT 200;

-- set_command_state
-- One row or none, when it is open and in the state the caller saw.
UPDATE control.command AS c
SET state = %(state)s
WHERE c.id = %(command)s AND c.state = %(before)s AND c.ended_at IS NULL
RETURNING c.id;

-- set_dispatched
-- One row or none, when it is open and was never dispatched.
UPDATE control.command AS c
SET state = 'dispatched', dispatched_at = %(now)s
WHERE c.id = %(command)s AND c.state = 'issued' AND c.ended_at IS NULL
RETURNING c.id;

-- set_nonce
-- One row, locked through its supply.
UPDATE control.command AS c
SET state = 'challenged', nonce = %(nonce)s
WHERE c.id = %(command)s;

-- end_command
-- One row, locked through its supply.
UPDATE control.command AS c
SET state = %(state)s, ended_at = %(now)s, end_reason = %(reason)s, evidence = %(evidence)s
WHERE c.id = %(command)s AND c.ended_at IS NULL
RETURNING c.id;

-- nonce_seen
-- One row when a nonce was used by any command before.
SELECT c.id FROM control.command AS c WHERE c.nonce = %(nonce)s;

-- insert_go
-- One row; the guard locks the supply and refuses what must never be let go.
INSERT INTO control.go (command, nonce, made_at, body)
VALUES (%(command)s, %(nonce)s, %(now)s, %(body)s);

-- go
-- One row or none.
SELECT g.made_at, g.released_at FROM control.go AS g WHERE g.command = %(command)s;

-- release_go
-- One row or none; the guard passes the gate's hard rules once more under the lock.
UPDATE control.go AS g
SET released_at = %(now)s
WHERE g.command = %(command)s AND g.released_at IS NULL
RETURNING g.command;

-- insert_ack
-- One row, or none when it came before.
INSERT INTO control.ack
    (id, stage, meter, concentrator, at, received_at, nonce, reason, evidence)
VALUES
    (%(id)s, %(stage)s, %(meter)s, %(concentrator)s, %(at)s, %(now)s, %(nonce)s, %(reason)s,
     %(evidence)s)
ON CONFLICT ON CONSTRAINT ack_pk DO NOTHING
RETURNING id;

-- insert_stray_ack
-- One row, or none when it came before.
INSERT INTO control.stray_ack (id, stage, concentrator, meter, received_at, cause)
VALUES (%(id)s, %(stage)s, %(concentrator)s, %(meter)s, %(now)s, %(cause)s)
ON CONFLICT ON CONSTRAINT stray_ack_pk DO NOTHING;

-- ack_of_start
-- One row when the edge told that a command had started or that its end is not known; no lock.
SELECT 1 FROM control.ack AS k
WHERE k.id = %(command)s AND k.stage IN ('started', 'unknown')
LIMIT 1;
