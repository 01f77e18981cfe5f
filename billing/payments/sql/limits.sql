-- share_channel
-- A shared advisory lock on one channel until commit: a change of its limits waits for payments
-- under way, and later ones see it.
SELECT pg_advisory_xact_lock_shared(730511704, hashtext(%(channel)s::text));

-- lock_channel
-- The whole advisory lock on one channel until commit.
SELECT pg_advisory_xact_lock(730511704, hashtext(%(channel)s::text));

-- terms_and_limit
-- One row: a channel's terms, null where it has none of its own, and its limit a day in a currency.
SELECT c.channel, c.zone, c.cutover, c.hold_seconds, c.quote_seconds, c.policy, c.min_micros,
       c.max_micros, c.by_agent,
       (SELECT g.amount_micros FROM payments.channel_change AS g
        WHERE g.channel = u.channel AND g.currency = %(currency)s AND g.kind = 'day_limit'
          AND g.outcome = 'approved'
        ORDER BY g.decided_at DESC, g.id DESC LIMIT 1)
FROM (SELECT %(channel)s::text AS channel) AS u
LEFT JOIN payments.channel AS c ON c.channel = u.channel;

-- lock_day
-- What counts in a channel's day, with its row lock until commit; the row is made when missing.
INSERT INTO payments.channel_day AS d (channel, currency, day, taken_micros)
VALUES (%(channel)s, %(currency)s, %(day)s, 0)
ON CONFLICT (channel, currency, day) DO UPDATE SET taken_micros = d.taken_micros
RETURNING d.taken_micros;

-- count_in_day
-- Adds to one channel's day; its row lock.
UPDATE payments.channel_day AS d SET taken_micros = d.taken_micros + %(amount)s
WHERE d.channel = %(channel)s AND d.currency = %(currency)s AND d.day = %(day)s;

-- lock_reserve
-- What of a float is kept for holds, with its row lock until commit; the row is made when missing.
INSERT INTO payments.float_reserve AS r (channel, currency, reserved_micros)
VALUES (%(channel)s, %(currency)s, 0)
ON CONFLICT (channel, currency) DO UPDATE SET reserved_micros = r.reserved_micros
RETURNING r.reserved_micros;

-- add_reserve
-- Keeps more or less of a float; its row lock.
UPDATE payments.float_reserve AS r SET reserved_micros = r.reserved_micros + %(amount)s
WHERE r.channel = %(channel)s AND r.currency = %(currency)s;

-- give_back_many
-- Takes what ended out of the days it counted in, in one order of rows; their row locks.
WITH ended AS (
    SELECT u.channel, u.currency, u.day, sum(u.amount)::bigint AS amount
    FROM unnest(%(channels)s::text[], %(currencies)s::text[], %(days)s::date[],
                %(amounts)s::bigint[]) AS u (channel, currency, day, amount)
    GROUP BY u.channel, u.currency, u.day
), kept AS MATERIALIZED (
    SELECT d.channel, d.currency, d.day FROM payments.channel_day AS d
    JOIN ended AS e USING (channel, currency, day)
    ORDER BY d.channel, d.currency, d.day FOR NO KEY UPDATE OF d
)
UPDATE payments.channel_day AS d SET taken_micros = d.taken_micros - e.amount
FROM ended AS e JOIN kept AS k USING (channel, currency, day)
WHERE d.channel = e.channel AND d.currency = e.currency AND d.day = e.day;

-- free_many
-- Lets go of what ended holds kept of floats, in one order of rows; their row locks.
WITH ended AS (
    SELECT u.channel, u.currency, sum(u.amount)::bigint AS amount
    FROM unnest(%(channels)s::text[], %(currencies)s::text[], %(amounts)s::bigint[])
        AS u (channel, currency, amount)
    GROUP BY u.channel, u.currency
), kept AS MATERIALIZED (
    SELECT r.channel, r.currency FROM payments.float_reserve AS r
    JOIN ended AS e USING (channel, currency)
    ORDER BY r.channel, r.currency FOR NO KEY UPDATE OF r
)
UPDATE payments.float_reserve AS r SET reserved_micros = r.reserved_micros - e.amount
FROM ended AS e JOIN kept AS k USING (channel, currency)
WHERE r.channel = e.channel AND r.currency = e.currency;

-- recount_day
-- Counts a channel's day anew from its payments; the caller keeps others out.
WITH counted AS (
    UPDATE payments.hold AS h SET counted_on = %(day)s::date
    WHERE h.channel = %(channel)s AND h.currency = %(currency)s
      AND h.state IN ('held', 'posted', 'suspense')
      AND (h.counted_on = %(day)s::date OR h.held_at >= %(since)s AND h.held_at < %(until)s)
    RETURNING h.amount_micros
)
INSERT INTO payments.channel_day (channel, currency, day, taken_micros)
SELECT %(channel)s, %(currency)s, %(day)s::date, coalesce(sum(c.amount_micros), 0)::bigint
FROM counted AS c
ON CONFLICT (channel, currency, day) DO UPDATE SET taken_micros = EXCLUDED.taken_micros;

-- set_counted
-- Tells in which day one payment counts; the caller has its row lock.
UPDATE payments.hold SET counted_on = %(day)s WHERE id = %(id)s;

-- insert_change
-- One row, or none while another change of the same kind waits.
INSERT INTO payments.channel_change
    (channel, currency, kind, amount_micros, reason, proposed_by, proposed_at)
VALUES (%(channel)s, %(currency)s, %(kind)s, %(amount)s, %(reason)s, %(actor)s, %(now)s)
ON CONFLICT (channel, currency, kind) WHERE outcome = 'waits' DO NOTHING
RETURNING id;

-- lock_change
-- One change or none, its row lock.
SELECT g.id, g.channel, g.currency, g.kind, g.amount_micros, g.reason, g.proposed_by,
       g.proposed_at, g.outcome, coalesce(g.decided_by, ''), g.decided_at
FROM payments.channel_change AS g WHERE g.id = %(id)s FOR UPDATE;

-- decide_change
-- One change that the caller has locked.
UPDATE payments.channel_change
SET outcome = %(outcome)s, decided_by = %(actor)s, decided_at = %(now)s, entry_id = %(entry)s
WHERE id = %(id)s;

-- newest_changes
-- Changes of channels, those that wait first, then the newest; no locks.
SELECT g.id, g.channel, g.currency, g.kind, g.amount_micros, g.reason, g.proposed_by,
       g.proposed_at, g.outcome, coalesce(g.decided_by, ''), g.decided_at
FROM payments.channel_change AS g
ORDER BY (g.outcome = 'waits') DESC, g.id DESC
LIMIT %(limit)s::int;

-- channel_names
-- Every channel and currency that took, was limited or has a float; no locks.
SELECT p.channel, p.currency FROM payments.payment AS p GROUP BY p.channel, p.currency
UNION
SELECT g.channel, g.currency FROM payments.channel_change AS g
ORDER BY 1, 2;

-- day_taken
-- What counts in a channel's day and what is kept of its float, zero where no row is; no locks.
SELECT coalesce((SELECT d.taken_micros FROM payments.channel_day AS d
                 WHERE d.channel = %(channel)s AND d.currency = %(currency)s
                   AND d.day = %(day)s), 0),
       coalesce((SELECT r.reserved_micros FROM payments.float_reserve AS r
                 WHERE r.channel = %(channel)s AND r.currency = %(currency)s), 0);
