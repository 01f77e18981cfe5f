-- unenrolled_agreements
-- Open agreements that wait for a state; no locks.
SELECT a.agreement, a.account, a.usage_point, a.currency, a.tariff_code, a.pinned_hash,
       a.attributes, a.started_at, a.opening_register_wh, a.opening_year_wh
FROM prepaid.awaiting AS w
JOIN customers.open_agreement AS a ON a.agreement = w.agreement
ORDER BY a.agreement;

-- insert_segment
-- One row; a segment is never changed.
INSERT INTO prepaid.segment
    (agreement, seq, period, started_at, register_wh, year_wh, fee_before_micros, tariff_hash,
     opened_at, previous, shape, before_wh, previous_wh, start_day)
VALUES (%(agreement)s, %(seq)s, %(period)s, %(started_at)s, %(register_wh)s, %(year_wh)s,
        %(fee_before)s, %(tariff_hash)s, %(now)s, %(previous)s, %(shape)s, %(before)s::jsonb,
        %(previous_wh)s::bigint[], %(start_day)s);

-- insert_state
-- One row, or none when a rival enrolled the agreement first.
INSERT INTO prepaid.state
    (agreement, account, usage_point, currency, tariff_code, pinned_hash, contract_w, segment_seq,
     period, segment_register_wh, segment_year_wh, segment_fee_before_micros, tariff_hash,
     register_wh, register_at, quality, fee_micros, drawn_micros, open_day, day_ends_at,
     day_register_wh, tier, available_micros, swept_at, point, ledger_account_id, tariff_no)
VALUES (%(agreement)s, %(account)s, %(usage_point)s, %(currency)s, %(tariff_code)s,
        %(pinned_hash)s, %(contract_w)s, 1, %(period)s, %(register_wh)s, %(year_wh)s, 0,
        %(tariff_hash)s, %(register_wh)s, %(register_at)s, %(quality)s, 0, 0, %(open_day)s,
        %(day_ends_at)s, %(register_wh)s, %(tier)s, 0, %(now)s, usage.number_of(%(usage_point)s),
        coalesce((SELECT b.ledger_account_id FROM ledger.customer_balance AS b
                  WHERE b.account = %(account)s AND b.currency = %(currency)s), 0),
        (SELECT t.tariff_no FROM prepaid.tariff_number AS t
         WHERE t.tariff_hash = %(tariff_hash)s));

-- delete_awaiting
-- One row: the agreement has its state. Locks the row.
DELETE FROM prepaid.awaiting AS w WHERE w.agreement = %(agreement)s;

-- states
-- Every state, or those named, with the ledger's balance in the same snapshot; no locks.
SELECT s.agreement, s.account, s.usage_point, s.currency, s.tariff_code, s.pinned_hash,
       s.tariff_hash, s.period, s.open_day, s.quality, s.contract_w, s.segment_seq,
       s.segment_register_wh, s.segment_year_wh, s.segment_fee_before_micros, s.register_wh,
       (extract(epoch FROM s.register_at) * 1000)::bigint, s.fee_micros, s.drawn_micros,
       (extract(epoch FROM s.day_ends_at) * 1000)::bigint, s.day_register_wh, s.tier,
       s.available_micros, s.below_reminder, s.below_zero, s.below_cut, s.reminders, s.zeros,
       s.cuts, s.restores, coalesce(b.posted_micros, 0), coalesce(b.version, 0)
FROM prepaid.state AS s
LEFT JOIN ledger.customer_balance AS b ON b.account = s.account AND b.currency = s.currency
WHERE %(agreements)s::text[] IS NULL OR s.agreement = ANY (%(agreements)s::text[])
ORDER BY s.agreement;

-- lock_states
-- Locks the states named, in agreement order, until commit; payments lock the same rows.
SELECT s.agreement FROM prepaid.state AS s
WHERE s.agreement = ANY (%(agreements)s::text[])
ORDER BY s.agreement
FOR UPDATE;

-- agreement_at
-- The enrolled agreement of a usage point, or none; no locks.
SELECT s.agreement FROM prepaid.state AS s WHERE s.usage_point = %(usage_point)s;

-- agreement_of_account
-- The enrolled agreement that an account pays for, or none; no locks.
SELECT s.agreement FROM prepaid.state AS s WHERE s.account = %(account)s;

-- agreements_of_accounts
-- The enrolled agreements that accounts pay for; no locks.
SELECT s.account, s.agreement FROM prepaid.state AS s
WHERE s.account = ANY (%(accounts)s::text[]);

-- update_figures
-- The states named, with what the sweep computed; rows are locked by the caller.
UPDATE prepaid.state AS s
SET register_wh = u.register, register_at = to_timestamp(u.register_ms / 1000.0),
    quality = u.quality, fee_micros = u.fee, tier = u.tier
FROM unnest(%(agreements)s::text[], %(registers)s::bigint[], %(register_ms)s::bigint[],
            %(qualities)s::text[], %(fees)s::bigint[], %(tiers)s::integer[])
    AS u (agreement, register, register_ms, quality, fee, tier)
WHERE s.agreement = u.agreement;

-- update_lines
-- The states named, with balance, flags and counters; rows are locked by the caller.
UPDATE prepaid.state AS s
SET available_micros = u.available, below_reminder = u.below_reminder,
    below_zero = u.below_zero, below_cut = u.below_cut, reminders = u.reminders,
    zeros = u.zeros, cuts = u.cuts, restores = u.restores, ledger_version = u.version,
    swept_at = %(now)s::timestamptz
FROM unnest(%(agreements)s::text[], %(available)s::bigint[], %(below_reminder)s::boolean[],
            %(below_zero)s::boolean[], %(below_cut)s::boolean[], %(reminders)s::integer[],
            %(zeros)s::integer[], %(cuts)s::integer[], %(restores)s::integer[],
            %(versions)s::bigint[])
    AS u (agreement, available, below_reminder, below_zero, below_cut, reminders, zeros, cuts,
          restores, version)
WHERE s.agreement = u.agreement;

-- note_first
-- One state: the register at which its first whole interval begins. Locks the row.
UPDATE prepaid.state AS s SET register_wh = %(register_wh)s, register_at = %(register_at)s
WHERE s.agreement = %(agreement)s;

-- advance_day
-- One state: the day is drawn, another is open. Locks the row.
UPDATE prepaid.state AS s
SET drawn_micros = %(drawn)s, open_day = %(open_day)s, day_ends_at = %(day_ends_at)s,
    day_register_wh = %(register_wh)s
WHERE s.agreement = %(agreement)s;

-- advance_segment
-- One state: a new year or a new tariff version prices from here. Locks the row.
UPDATE prepaid.state AS s
SET segment_seq = %(seq)s, period = %(period)s, tariff_code = %(tariff_code)s,
    pinned_hash = %(pinned_hash)s, contract_w = %(contract_w)s, segment_register_wh = %(register_wh)s,
    segment_year_wh = %(year_wh)s, segment_fee_before_micros = %(fee_before)s,
    tariff_hash = %(tariff_hash)s, tier = %(tier)s,
    tariff_no = (SELECT t.tariff_no FROM prepaid.tariff_number AS t
                 WHERE t.tariff_hash = %(tariff_hash)s)
WHERE s.agreement = %(agreement)s;

-- lock_sweep
-- Takes the one advisory lock of the sweep until commit: two billing processes sweep in turn.
SELECT pg_advisory_xact_lock(730511703);
