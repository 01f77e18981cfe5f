-- lock_code
-- Takes an advisory lock for one tariff code until commit, so that versions are published in turn.
SELECT pg_advisory_xact_lock(730511702, hashtext(%(code)s::text));

-- insert_version
-- One row, or none when the same version is published already.
INSERT INTO tariffs.version
    (digest, code, number, currency, zone, valid_from, valid_to, document, published_at,
     published_by, cases_passed)
VALUES (%(digest)s, %(code)s, %(number)s, %(currency)s, %(zone)s, %(valid_from)s, %(valid_to)s,
        %(document)s, %(now)s, %(actor)s, %(cases)s)
ON CONFLICT (digest) DO NOTHING
RETURNING digest;

-- versions_of_code
-- Every version of one code, oldest first; no locks.
SELECT v.digest, v.document FROM tariffs.version AS v
WHERE v.code = %(code)s
ORDER BY v.valid_from;

-- versions_by_digest
-- The versions named; no locks.
SELECT v.digest, v.document FROM tariffs.version AS v
WHERE v.digest = ANY (%(digests)s::text[]);

-- published
-- Every version of every code, newest of a code first; no locks.
SELECT v.digest, v.code, v.number, v.currency, v.valid_from, v.valid_to, v.published_at,
       v.published_by, v.cases_passed, v.document
FROM tariffs.version AS v
ORDER BY v.code, v.valid_from DESC;
