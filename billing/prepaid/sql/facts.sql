-- insert_drawdowns
-- One row per agreement, day and correction; a day is drawn once.
INSERT INTO prepaid.drawdown
    (agreement, day, account, segment_seq, from_register_wh, register_wh, register_at, fee_micros,
     amount_micros, tariff_hash, entry_id, drawn_at, seq, energy_wh)
SELECT u.agreement, u.day, u.account, u.seq, u.from_register, u.register, u.register_at, u.fee,
       u.amount, u.tariff_hash, u.entry_id, %(now)s::timestamptz, u.seq_of_day,
       u.energy::bigint[]
FROM unnest(%(agreements)s::text[], %(days)s::date[], %(accounts)s::text[], %(seqs)s::integer[],
            %(from_registers)s::bigint[], %(registers)s::bigint[],
            %(register_ats)s::timestamptz[], %(fees)s::bigint[], %(amounts)s::bigint[],
            %(tariff_hashes)s::text[], %(entries)s::bigint[], %(seqs_of_day)s::integer[],
            %(energies)s::text[])
    AS u (agreement, day, account, seq, from_register, register, register_at, fee, amount,
          tariff_hash, entry_id, seq_of_day, energy);

-- insert_crossings
-- Rows that are new by (account, kind, level, period, crossing_no); the rest stand already.
INSERT INTO prepaid.crossing
    (agreement, account, usage_point, kind, level, period, crossing_no, at, available_micros,
     register_wh, register_at, tariff_hash, ledger_version)
SELECT u.agreement, u.account, u.usage_point, u.kind, u.level, u.period, u.crossing_no,
       %(now)s::timestamptz, u.available, u.register, to_timestamp(u.register_ms / 1000.0),
       u.tariff_hash, u.version
FROM unnest(%(agreements)s::text[], %(accounts)s::text[], %(usage_points)s::text[],
            %(kinds)s::text[], %(levels)s::integer[], %(periods)s::date[],
            %(numbers)s::integer[], %(available)s::bigint[], %(registers)s::bigint[],
            %(register_ms)s::bigint[], %(tariff_hashes)s::text[], %(versions)s::bigint[])
    AS u (agreement, account, usage_point, kind, level, period, crossing_no, available, register,
          register_ms, tariff_hash, version)
ON CONFLICT ON CONSTRAINT crossing_once DO NOTHING
RETURNING id, agreement, account, usage_point, kind, level, period, crossing_no, at,
          available_micros, register_wh, register_at, tariff_hash, ledger_version;

-- crossings_after
-- Crossings of surely ended transactions after a watermark, oldest first; no locks.
SELECT c.id, c.agreement, c.account, c.usage_point, c.kind, c.level, c.period, c.crossing_no,
       c.at, c.available_micros, c.register_wh, c.register_at, c.tariff_hash, c.ledger_version
FROM prepaid.crossing AS c
WHERE c.id > %(after)s
  AND c.id < coalesce(
      (SELECT min(later.id) FROM prepaid.crossing AS later
       WHERE later.id > %(after)s
         AND later.txid >= pg_snapshot_xmin(pg_current_snapshot())), 9223372036854775807)
ORDER BY c.id
LIMIT 1000;

-- crossings_of
-- Crossings of one agreement, newest first; no locks.
SELECT c.id, c.agreement, c.account, c.usage_point, c.kind, c.level, c.period, c.crossing_no,
       c.at, c.available_micros, c.register_wh, c.register_at, c.tariff_hash, c.ledger_version
FROM prepaid.crossing AS c
WHERE c.agreement = %(agreement)s
ORDER BY c.id DESC
LIMIT %(limit)s::int;

-- segments_of
-- Segments of one agreement, oldest first; no locks.
SELECT g.agreement, g.seq, g.period, g.started_at, g.register_wh, g.year_wh, g.fee_before_micros,
       g.tariff_hash, g.previous, g.shape, g.before_wh, g.previous_wh,
       g.start_day
FROM prepaid.segment AS g
WHERE g.agreement = %(agreement)s
ORDER BY g.seq;

-- all_segments
-- Every segment, for the audit; no locks.
SELECT g.agreement, g.seq, g.period, g.started_at, g.register_wh, g.year_wh, g.fee_before_micros,
       g.tariff_hash, g.previous, g.shape, g.before_wh, g.previous_wh,
       g.start_day
FROM prepaid.segment AS g
ORDER BY g.agreement, g.seq;

-- drawdowns_of
-- Days drawn of one agreement within [first, last], oldest first; no locks.
SELECT d.agreement, d.account, d.day, d.segment_seq, d.from_register_wh, d.register_wh,
       d.register_at, d.fee_micros, d.amount_micros, d.tariff_hash, d.entry_id, d.seq,
       d.energy_wh
FROM prepaid.drawdown AS d
WHERE d.agreement = %(agreement)s AND d.day BETWEEN %(first)s AND %(last)s
ORDER BY d.day, d.seq;

-- all_drawdowns
-- Every day drawn, for the audit; no locks.
SELECT d.agreement, d.account, d.day, d.segment_seq, d.from_register_wh, d.register_wh,
       d.register_at, d.fee_micros, d.amount_micros, d.tariff_hash, d.entry_id, d.seq,
       d.energy_wh
FROM prepaid.drawdown AS d
ORDER BY d.agreement, d.id;

-- drawdowns_unlike_ledger
-- Days whose ledger entry took another amount than the day says; no locks.
SELECT d.agreement, d.day
FROM prepaid.drawdown AS d
LEFT JOIN ledger.customer_movement AS m ON m.entry_id = d.entry_id AND m.account = d.account
WHERE coalesce(m.amount_micros, 0) <> -d.amount_micros
ORDER BY d.agreement, d.day;

-- standing_exceptions
-- Calculation exceptions that stand; no locks.
SELECT x.agreement, coalesce(a.usage_point, ''), x.kind, x.since, x.detail
FROM prepaid.exception AS x
LEFT JOIN customers.open_agreement AS a ON a.agreement = x.agreement
WHERE x.closed_at IS NULL
ORDER BY x.since, x.agreement;

-- open_exceptions
-- Rows that are new; an exception that stands stays as it is.
INSERT INTO prepaid.exception (agreement, kind, since, detail)
SELECT u.agreement, u.kind, %(now)s::timestamptz, ''
FROM unnest(%(agreements)s::text[], %(kinds)s::text[]) AS u (agreement, kind)
ON CONFLICT DO NOTHING;

-- close_exceptions
-- The open exceptions named. Locks their rows.
UPDATE prepaid.exception AS x SET closed_at = %(now)s::timestamptz
FROM unnest(%(agreements)s::text[], %(kinds)s::text[]) AS u (agreement, kind)
WHERE x.agreement = u.agreement AND x.kind = u.kind AND x.closed_at IS NULL;
