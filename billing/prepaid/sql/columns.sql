-- export_snapshot
-- Lets readers on other connections see what this transaction's next statement sees; no locks.
SELECT pg_export_snapshot();

-- next_moved
-- The transaction from which a later sweep has to look again; no locks.
SELECT pg_snapshot_xmin(pg_current_snapshot())::text;

-- mark
-- From where to look for what moved, and when every account was looked at; no locks.
SELECT m.next_moved::text, m.every_account_at FROM prepaid.sweep_mark AS m;

-- set_mark
-- One row, inserted or replaced; locks it.
INSERT INTO prepaid.sweep_mark AS m (next_moved, every_account_at)
VALUES (%(next_moved)s::text::xid8, %(every_account_at)s)
ON CONFLICT (single) DO UPDATE
SET next_moved = excluded.next_moved, every_account_at = excluded.every_account_at;

-- largest_numbers
-- The largest point, and the largest number of a kept ledger account; no locks.
SELECT coalesce((SELECT max(s.point) FROM prepaid.state AS s), 0),
       coalesce((SELECT max(b.ledger_account_id) FROM ledger.customer_balance AS b), 0);

-- number_tariffs
-- Rows for tariff versions that have no number yet. No locks beyond new rows.
INSERT INTO prepaid.tariff_number (tariff_hash)
SELECT u.hash FROM unnest(%(hashes)s::text[]) AS u (hash)
WHERE NOT EXISTS (SELECT 1 FROM prepaid.tariff_number AS t WHERE t.tariff_hash = u.hash)
ON CONFLICT (tariff_hash) DO NOTHING;

-- tariff_numbers
-- Every tariff version that states have been priced by; no locks.
SELECT t.tariff_no, t.tariff_hash FROM prepaid.tariff_number AS t;

-- page_counts
-- Pages of the states' octets and of the newest registers; no locks.
SELECT pg_relation_size('prepaid.hot') / current_setting('block_size')::bigint,
       pg_relation_size('usage.newest') / current_setting('block_size')::bigint;

-- state_columns
-- The octets of states on a range of pages, one after another; no locks.
SELECT string_agg(h.octets, '') FROM prepaid.hot AS h
WHERE h.ctid >= %(first)s::text::tid AND h.ctid < %(end)s::text::tid;

-- register_columns
-- The octets of newest registers on a range of pages, one after another; no locks.
SELECT string_agg(n.octets, '') FROM usage.newest AS n
WHERE n.ctid >= %(first)s::text::tid AND n.ctid < %(end)s::text::tid AND n.at_ms >= 0;

-- posted_columns
-- The octets of a range of ledger accounts, one after another; no locks.
SELECT string_agg(b.octets, '') FROM ledger.customer_balance AS b
WHERE b.ledger_account_id >= %(first)s AND b.ledger_account_id < %(end)s;

-- count_moves
-- How many moves since a transaction are kept, or no row when not all of them are; no locks.
SELECT (SELECT coalesce(sum(m.points), 0) FROM usage.moves AS m
        WHERE m.moved >= %(since)s::text::xid8)
FROM usage.moves_since AS s
WHERE s.moved <= %(since)s::text::xid8;

-- moves
-- Registers that moved since a transaction, a point's newest last; no locks.
SELECT string_agg(m.octets, '' ORDER BY m.id) FROM usage.moves AS m
WHERE m.moved >= %(since)s::text::xid8;

-- forget_moves
-- Lets go of moves before a transaction; locks one row that only sweeps lock.
SELECT usage.forget_moves(%(before)s::text::xid8);

-- moved_registers
-- As register_columns, of what moved since a transaction; no locks.
SELECT string_agg(n.octets, '') FROM usage.newest AS n
WHERE n.ctid >= %(first)s::text::tid AND n.ctid < %(end)s::text::tid AND n.at_ms >= 0
  AND n.moved >= %(since)s::text::xid8;

-- awaited_hours
-- As register_columns, of those priced by hours whose register is ahead of them: a late hour raises
-- no mark; no locks.
SELECT string_agg(n.octets, '')
FROM prepaid.hot_stretch AS h
JOIN usage.newest AS n ON n.point = h.point
JOIN prepaid.state AS s ON s.point = h.point
WHERE h.hourly AND n.at_ms > (extract(epoch FROM s.register_at) * 1000)::bigint;

-- stretch_columns
-- The octets of open stretches at the points named, those as long as each other together; no locks.
SELECT h.hourly, h.periods, string_agg(h.octets, '') FROM prepaid.hot_stretch AS h
WHERE h.point = ANY (%(points)s::bigint[])
GROUP BY h.hourly, h.periods;

-- shapes_numbered
-- The shapes that have these numbers; no locks.
SELECT k.shape_no, k.shape FROM prepaid.shape AS k WHERE k.shape_no = ANY (%(numbers)s::integer[]);

-- usage_points_at
-- The usage points that have these numbers; no locks.
SELECT n.point, n.usage_point FROM usage.newest AS n WHERE n.point = ANY (%(points)s::bigint[]);

-- registers_of_points
-- As register_columns, of the points named that have a register; no locks.
SELECT string_agg(n.octets, '') FROM usage.newest AS n
WHERE n.point = ANY (%(points)s::bigint[]) AND n.at_ms >= 0;

-- contracts_of_points
-- Point and contract power of the points named; no locks.
SELECT string_agg(int8send(s.point), ''), string_agg(int8send(s.contract_w), '')
FROM prepaid.state AS s
WHERE s.point = ANY (%(points)s::bigint[]);

-- every_point
-- The point of every agreement; no locks.
SELECT string_agg(int8send(s.point), '') FROM prepaid.state AS s;

-- points_of_moved_money
-- Points whose money moved in (after, upto] other than by a day drawn; no locks.
SELECT s.point
FROM ledger.moved_account AS m
JOIN prepaid.state AS s ON s.account = m.account
WHERE m.entry_id > %(after)s::bigint AND m.entry_id <= %(upto)s::bigint AND m.kind <> 'drawdown'
GROUP BY s.point;

-- newest_entry
-- The newest entry up to which all have ended: none of before will appear later; no locks.
SELECT coalesce(
    (SELECT min(later.id) - 1 FROM ledger.entry AS later
     WHERE later.id > %(after)s::bigint
       AND later.txid >= pg_snapshot_xmin(pg_current_snapshot())),
    (SELECT max(e.id) FROM ledger.entry AS e), 0);

-- states_at_points
-- As state_columns, of the points named; no locks.
SELECT string_agg(h.octets, '') FROM prepaid.hot AS h
WHERE h.point = ANY (%(points)s::bigint[]);

-- posted_of_accounts
-- As posted_columns, of the ledger accounts named; no locks.
SELECT string_agg(b.octets, '') FROM ledger.customer_balance AS b
WHERE b.ledger_account_id = ANY (%(ledger_accounts)s::bigint[]);

-- newest_at_points
-- The newest register of each usage point named that has one; no locks.
SELECT n.usage_point, n.cumulative_wh, n.at_ms, n.questionable
FROM usage.newest AS n
WHERE n.usage_point = ANY (%(usage_points)s::text[]) AND n.at_ms >= 0;

-- agreements_at_points
-- The agreements of points, in agreement order; no locks.
SELECT s.agreement, s.point FROM prepaid.state AS s
WHERE s.point = ANY (%(points)s::bigint[])
ORDER BY s.agreement;

-- points_of
-- Point, usage point and currency of agreements named or at usage points named; no locks.
SELECT s.agreement, s.usage_point, s.currency, s.point FROM prepaid.state AS s
WHERE s.agreement = ANY (%(agreements)s::text[])
   OR s.usage_point = ANY (%(usage_points)s::text[]);

-- agreements_over
-- Agreements whose business day is over: by grace, or by a register of a later day; no locks.
SELECT s.agreement FROM prepaid.state AS s
WHERE s.day_ends_at <= %(now)s::timestamptz
  AND (s.day_ends_at <= %(grace)s::timestamptz OR EXISTS (
      SELECT 1 FROM usage.newest AS n
      WHERE n.point = s.point AND n.at_ms >= (extract(epoch FROM s.day_ends_at) * 1000)::bigint));

-- standing_points
-- Calculation exceptions that a screen finds and that stand, by point; no locks.
SELECT s.point, x.kind FROM prepaid.exception AS x
JOIN prepaid.state AS s ON s.agreement = x.agreement
WHERE x.closed_at IS NULL AND x.kind IN ('missing_register', 'beyond_bound', 'below_opening',
                                       'missing_intervals');

-- append_snapshot
-- One block of fees; a snapshot is never changed.
INSERT INTO prepaid.snapshot
    (sweep, block, at, first_point, last_point, point, register_wh, register_ms, fee_micros,
     tariff_no)
VALUES (pg_current_xact_id()::text::bigint, %(block)s, %(now)s, %(first_point)s, %(last_point)s,
        %(point)s, %(register_wh)s, %(register_ms)s, %(fee_micros)s, %(tariff_no)s);

-- snapshot_blocks
-- The newest blocks of fees, newest first; no locks.
SELECT p.at, p.point, p.register_wh, p.register_ms, p.fee_micros, p.tariff_no
FROM prepaid.snapshot AS p
ORDER BY p.sweep DESC, p.block
LIMIT %(limit)s::int;

-- drawn_at_random
-- States of a share of all points, picked by a hash of the seed; no locks.
SELECT s.agreement FROM prepaid.state AS s
WHERE abs(hashint8extended(s.point, %(seed)s::bigint) %% 10000) < %(per_10000)s::int
ORDER BY s.agreement;

-- segments_of_many
-- Segments of the agreements named, oldest first of each; no locks.
SELECT g.agreement, g.seq, g.period, g.started_at, g.register_wh, g.year_wh, g.fee_before_micros,
       g.tariff_hash, g.previous, g.shape, g.before_wh, g.previous_wh,
       g.start_day
FROM prepaid.segment AS g
WHERE g.agreement = ANY (%(agreements)s::text[])
ORDER BY g.agreement, g.seq;

-- insert_shadow
-- One row; it is never changed.
INSERT INTO prepaid.shadow (at, seed, checked, differing, examples)
VALUES (%(now)s, %(seed)s, %(checked)s, %(differing)s, %(examples)s::text[]);

-- last_shadow
-- When the newest second opinion was taken, or none; no locks.
SELECT max(x.at) FROM prepaid.shadow AS x;

-- exceptions_between
-- Calculation exceptions that began in a span, with their usage point; no locks.
SELECT x.agreement, coalesce(a.usage_point, ''), x.kind, x.since, x.closed_at
FROM prepaid.exception AS x
LEFT JOIN customers.open_agreement AS a ON a.agreement = x.agreement
WHERE x.since >= %(start)s AND x.since < %(end)s
ORDER BY x.since, x.agreement;
