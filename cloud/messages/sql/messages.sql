-- insert_message
-- One row, or none when its dedupe key was used before.
INSERT INTO messages.message
    (dedupe_key, kind, subject, phone, language, variables, text, channel, state, cause,
     segments, enqueued_at)
VALUES
    (%(dedupe_key)s, %(kind)s, %(subject)s, %(phone)s, %(language)s, %(variables)s, %(text)s,
     %(channel)s, %(state)s, %(cause)s, %(segment_count)s, %(now)s)
ON CONFLICT ON CONSTRAINT message_once DO NOTHING
RETURNING id;

-- insert_messages
-- Rows in the order given, but for those whose dedupe key was used before, here or in the outbox.
INSERT INTO messages.message
    (dedupe_key, kind, subject, phone, language, variables, text, channel, state, cause,
     segments, enqueued_at)
SELECT u.dedupe_key, u.kind, u.subject, u.phone, u.language, u.variables::jsonb, u.text, u.channel,
       u.state, u.cause, u.segments, %(now)s::timestamptz
FROM unnest(%(dedupe_keys)s::text[], %(kinds)s::text[], %(subjects)s::text[], %(phones)s::text[],
            %(languages)s::text[], %(variables)s::text[], %(texts)s::text[], %(channels)s::text[],
            %(states)s::text[], %(causes)s::text[], %(segment_counts)s::smallint[])
    WITH ORDINALITY
    AS u (dedupe_key, kind, subject, phone, language, variables, text, channel, state, cause,
          segments, place)
ORDER BY u.place
ON CONFLICT ON CONSTRAINT message_once DO NOTHING
RETURNING id, dedupe_key;

-- due_messages
-- Queued messages whose next try has come, oldest first; skips rows another sender holds.
SELECT m.id, m.phone, m.text, m.tries
FROM messages.message AS m
WHERE m.state = 'queued' AND (m.next_try_wall IS NULL OR m.next_try_wall <= %(wall_now)s)
ORDER BY m.number
LIMIT %(limit)s;

-- lock_message
-- One row or none; takes its lock.
SELECT m.state FROM messages.message AS m WHERE m.id = %(id)s FOR UPDATE;

-- move_message
-- One row, locked by the caller.
UPDATE messages.message AS m
SET state = %(state)s, cause = %(cause)s,
    sent_at = CASE WHEN %(state)s IN ('sent', 'delivered') THEN coalesce(m.sent_at, %(now)s)
                   ELSE m.sent_at END,
    delivered_at = CASE WHEN %(state)s = 'delivered' THEN %(now)s ELSE m.delivered_at END
WHERE m.id = %(id)s;

-- put_off_message
-- One row, while it is queued.
UPDATE messages.message AS m
SET tries = m.tries + 1, next_try_wall = %(next_try_wall)s, cause = %(cause)s
WHERE m.id = %(id)s AND m.state = 'queued';

-- messages_of
-- Messages about one subject, newest first.
SELECT m.id, m.number, m.kind, m.subject, m.phone, m.language, m.text, m.channel, m.state,
       m.cause, m.segments, m.enqueued_at, m.sent_at, m.delivered_at
FROM messages.message AS m
WHERE m.subject = %(subject)s
ORDER BY m.number DESC
LIMIT %(limit)s;

-- newest_messages
-- Messages about anybody, newest first.
SELECT m.id, m.number, m.kind, m.subject, m.phone, m.language, m.text, m.channel, m.state,
       m.cause, m.segments, m.enqueued_at, m.sent_at, m.delivered_at
FROM messages.message AS m
ORDER BY m.number DESC
LIMIT %(limit)s;

-- message_counts
-- One row per state.
SELECT m.state, count(*) FROM messages.message AS m GROUP BY m.state ORDER BY m.state;

-- upsert_contact
-- One row.
INSERT INTO messages.contact (subject, phone, language, mode, problem, changed_at)
VALUES (%(subject)s, %(phone)s, %(language)s, %(mode)s, %(problem)s, %(now)s)
ON CONFLICT (subject) DO UPDATE
SET phone = excluded.phone, language = excluded.language, mode = excluded.mode,
    problem = excluded.problem, changed_at = excluded.changed_at;

-- upsert_contacts
-- Rows of subjects named once each, in subject order: one order of locks for everybody.
INSERT INTO messages.contact (subject, phone, language, mode, problem, changed_at)
SELECT u.subject, u.phone, u.language, u.mode, u.problem, %(now)s::timestamptz
FROM unnest(%(subjects)s::text[], %(phones)s::text[], %(languages)s::text[], %(modes)s::text[],
            %(problems)s::text[]) AS u (subject, phone, language, mode, problem)
ORDER BY u.subject
ON CONFLICT (subject) DO UPDATE
SET phone = excluded.phone, language = excluded.language, mode = excluded.mode,
    problem = excluded.problem, changed_at = excluded.changed_at;

-- contacts
-- Rows of the subjects named that have one.
SELECT c.subject, c.phone, c.language, c.mode, c.problem
FROM messages.contact AS c
WHERE c.subject = ANY (%(subjects)s::text[]);

-- contact
-- One row or none.
SELECT c.subject, c.phone, c.language, c.mode, c.problem
FROM messages.contact AS c
WHERE c.subject = %(subject)s;

-- contacts_with_problem
-- Contacts whose number cannot be used, by subject.
SELECT c.subject, c.phone, c.language, c.mode, c.problem
FROM messages.contact AS c
WHERE c.problem <> ''
ORDER BY c.subject
LIMIT %(limit)s;
