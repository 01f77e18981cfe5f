-- unsigned_commands
-- Commands that wait for a signature, reconnects first; no locks.
SELECT c.id, c.usage_point, c.meter, c.concentrator, c.verb, c.epoch, c.body, NULL::bytea AS nonce,
       c.expires, c.ended_at IS NULL AS open, coalesce(r.state, '') AS request_state,
       coalesce(r.requested_by, '') AS requested_by,
       ARRAY(SELECT a.actor FROM control.approval AS a WHERE a.request = c.request) AS approvers,
       s.protected OR EXISTS (
           SELECT 1 FROM control.protection AS p
           WHERE p.ended_at IS NULL
             AND ((p.level = 'usage_point' AND p.target = s.usage_point)
               OR (p.level = 'transformer' AND p.target = s.transformer)
               OR (p.level = 'feeder' AND p.target = s.feeder))
       ) AS protected,
       s.epoch AS supply_epoch, (SELECT h.halted FROM control.halt AS h) AS halted,
       false AS signed_before, t.kind AS token_kind, t.opaque AS token_opaque,
       k.requested_by AS release_asked, k.approved_by AS release_approved
FROM control.command AS c
JOIN control.supply_state AS s ON s.usage_point = c.usage_point
LEFT JOIN control.request AS r ON r.id = c.request
LEFT JOIN control.token AS t
    ON t.id = c.token AND t.meter = c.meter AND t.usage_point = c.usage_point
LEFT JOIN control.keep_release AS k
    ON k.id = c.keep_release AND k.usage_point = c.usage_point AND k.closed_at IS NULL
WHERE c.ended_at IS NULL AND c.body IS NOT NULL AND c.signature IS NULL
  AND c.signer_refusal IS NULL
ORDER BY c.verb = 'disconnect', c.lock_seq
LIMIT 200;

-- unsigned_goes
-- Goes that wait for a signature; no locks.
SELECT c.id, c.usage_point, c.meter, c.concentrator, c.verb, c.epoch, g.body, c.nonce,
       c.expires, c.ended_at IS NULL AS open, coalesce(r.state, '') AS request_state,
       coalesce(r.requested_by, '') AS requested_by,
       ARRAY(SELECT a.actor FROM control.approval AS a WHERE a.request = c.request) AS approvers,
       s.protected OR EXISTS (
           SELECT 1 FROM control.protection AS p
           WHERE p.ended_at IS NULL
             AND ((p.level = 'usage_point' AND p.target = s.usage_point)
               OR (p.level = 'transformer' AND p.target = s.transformer)
               OR (p.level = 'feeder' AND p.target = s.feeder))
       ) AS protected,
       s.epoch AS supply_epoch, (SELECT h.halted FROM control.halt AS h) AS halted,
       EXISTS (
           SELECT 1 FROM signer.signature AS g2 WHERE g2.command = c.id AND g2.part = 'command'
       ) AS signed_before, NULL AS token_kind, NULL::bytea AS token_opaque,
       NULL AS release_asked, NULL AS release_approved
FROM control.go AS g
JOIN control.command AS c ON c.id = g.command
JOIN control.supply_state AS s ON s.usage_point = c.usage_point
LEFT JOIN control.request AS r ON r.id = c.request
WHERE c.ended_at IS NULL AND g.signature IS NULL AND g.signer_refusal IS NULL
  AND g.released_at IS NULL
ORDER BY c.lock_seq
LIMIT 200;

-- lock_counts
-- Takes the one advisory lock under which this signer counts, until commit.
SELECT pg_advisory_xact_lock(7305117011);

-- limits
-- The one row.
SELECT p.max_cuts_per_hour, p.max_cuts_per_day FROM signer.policy AS p;

-- counts
-- Cuts that this signer signed lately, from its own memory.
SELECT count(*) FILTER (WHERE g.at > %(hour_ago)s) AS hour, count(*) AS day
FROM signer.signature AS g
WHERE g.verb = 'disconnect' AND g.part = 'command' AND g.at > %(day_ago)s;

-- insert_signature
-- One row; the same command and part twice is an error.
INSERT INTO signer.signature (command, part, verb, usage_point, at, wall_at, digest)
VALUES (%(command)s, %(part)s, %(verb)s, %(usage_point)s, %(now)s, %(wall_now)s, %(digest)s);

-- insert_refusal
-- One row.
INSERT INTO signer.refusal (command, part, cause, at)
VALUES (%(command)s, %(part)s, %(cause)s, %(now)s);

-- write_command_signature
-- One row or none, when the octets are still those that were judged.
UPDATE control.command AS c
SET signature = %(signature)s, signed_at = %(now)s
WHERE c.id = %(command)s AND c.body = %(body)s AND c.signature IS NULL AND c.ended_at IS NULL
RETURNING c.id;

-- write_go_signature
-- One row or none, when the octets are still those that were judged.
UPDATE control.go AS g
SET signature = %(signature)s, signed_at = %(now)s
WHERE g.command = %(command)s AND g.body = %(body)s AND g.signature IS NULL
  AND g.released_at IS NULL
RETURNING g.command;

-- write_command_refusal
-- One row or none.
UPDATE control.command AS c
SET signer_refusal = %(cause)s
WHERE c.id = %(command)s AND c.signature IS NULL AND c.ended_at IS NULL;

-- write_go_refusal
-- One row or none.
UPDATE control.go AS g
SET signer_refusal = %(cause)s
WHERE g.command = %(command)s AND g.signature IS NULL;
