-- upsert_person
-- One row; takes its row lock. A person who exists keeps the password unless it is another.
INSERT INTO access.person (login, name, language, calendar, password_hash, made_at)
VALUES (%(login)s, %(name)s, %(language)s, %(calendar)s, %(password_hash)s, %(made_at)s)
ON CONFLICT (login) DO UPDATE
SET name = EXCLUDED.name, password_hash = EXCLUDED.password_hash, disabled_at = NULL;

-- insert_assignment
-- One row; a repeat lifts an earlier revocation.
INSERT INTO access.assignment (login, role, unit, usage_point, granted_at)
VALUES (%(login)s, %(role)s, %(unit)s, %(usage_point)s, %(granted_at)s)
ON CONFLICT (login, role, unit, usage_point) DO UPDATE SET revoked_at = NULL;

-- person_by_login
-- One row or none, no lock.
SELECT name, language, calendar, password_hash
FROM access.person
WHERE login = %(login)s AND disabled_at IS NULL;

-- people
-- Every person who may sign in, no lock; a few hundred rows at most are shown on the tour.
SELECT p.login, p.name, p.language, array_agg(DISTINCT a.role) AS roles
FROM access.person p
JOIN access.assignment a ON a.login = p.login AND a.revoked_at IS NULL
WHERE p.disabled_at IS NULL AND p.login = ANY(%(logins)s)
GROUP BY p.login, p.name, p.language
ORDER BY p.login;

-- assignments_of
-- The open assignments of one person, no lock.
SELECT role, unit, usage_point
FROM access.assignment
WHERE login = %(login)s AND revoked_at IS NULL
ORDER BY role, unit, usage_point;

-- count_failures
-- One row: failed tries since an instant, by account and by address. A success clears the account.
SELECT
    (SELECT count(*) FROM access.attempt a
     WHERE a.login = %(login)s AND NOT a.success AND a.at_wall > greatest(
        %(since)s::timestamptz,
        coalesce((SELECT max(s.at_wall) FROM access.attempt s
                  WHERE s.login = %(login)s AND s.success), %(since)s::timestamptz))),
    (SELECT count(*) FROM access.attempt b
     WHERE b.address = %(address)s AND NOT b.success AND b.at_wall > %(since)s::timestamptz);

-- insert_attempt
-- One row, no lock.
INSERT INTO access.attempt (login, address, at_wall, success)
VALUES (%(login)s, %(address)s, %(at_wall)s, %(success)s);

-- insert_session
-- One row, no lock.
INSERT INTO access.session
    (token_hash, login, made_wall, seen_wall, idle_seconds, stepped_up_wall, address)
VALUES
    (%(token_hash)s, %(login)s, %(wall)s, %(wall)s, %(idle_seconds)s, %(stepped_up)s, %(address)s);

-- session_by_token
-- One row or none, no lock.
SELECT s.login, p.name, p.language, p.calendar, s.seen_wall, s.idle_seconds, s.stepped_up_wall,
    s.ended_wall
FROM access.session s
JOIN access.person p ON p.login = s.login AND p.disabled_at IS NULL
WHERE s.token_hash = %(token_hash)s;

-- touch_session
-- One row, its row lock; at most once a minute for each session.
UPDATE access.session SET seen_wall = %(wall)s
WHERE token_hash = %(token_hash)s AND ended_wall IS NULL;

-- step_up_session
-- One row, its row lock.
UPDATE access.session SET stepped_up_wall = %(wall)s, seen_wall = %(wall)s
WHERE token_hash = %(token_hash)s AND ended_wall IS NULL;

-- end_session
-- One row, its row lock.
UPDATE access.session SET ended_wall = %(wall)s
WHERE token_hash = %(token_hash)s AND ended_wall IS NULL;

-- set_language
-- One row, its row lock.
UPDATE access.person SET language = %(language)s, calendar = %(calendar)s WHERE login = %(login)s;

-- upsert_api_key
-- One row; a name has one key, a new key replaces the old.
INSERT INTO access.api_key (key_hash, name, channel, scopes, made_at)
VALUES (%(key_hash)s, %(name)s, %(channel)s, %(scopes)s, %(made_at)s)
ON CONFLICT (name) DO UPDATE
SET key_hash = EXCLUDED.key_hash, channel = EXCLUDED.channel, scopes = EXCLUDED.scopes,
    revoked_at = NULL;

-- api_key_by_hash
-- One row or none, no lock.
SELECT name, channel, scopes
FROM access.api_key
WHERE key_hash = %(key_hash)s AND revoked_at IS NULL;

-- answer_of
-- One row or none, no lock.
SELECT fingerprint, status, body
FROM access.answer
WHERE caller = %(caller)s AND key = %(key)s;

-- insert_answer
-- One row or none when the same key was answered meanwhile.
INSERT INTO access.answer (caller, key, fingerprint, status, body, at_wall)
VALUES (%(caller)s, %(key)s, %(fingerprint)s, %(status)s, %(body)s, %(wall)s)
ON CONFLICT (caller, key) DO NOTHING;
