-- open_stretches
-- Open stretches of the agreements named; no locks.
SELECT o.agreement, o.hourly, o.start_day, o.shape, o.before_wh, o.opened_at, o.opening_wh,
       o.day_at, o.day_wh, o.upto_day, o.energy_wh
FROM prepaid.open_stretch AS o
WHERE o.agreement = ANY (%(agreements)s::text[]);

-- put_stretch
-- One row, inserted or replaced; locks it.
INSERT INTO prepaid.open_stretch
    (agreement, point, hourly, start_day, shape, before_wh, opened_at, opening_wh, day_at, day_wh,
     upto_day, energy_wh)
SELECT s.agreement, s.point, %(hourly)s, %(start)s::date, %(shape)s, %(before)s::jsonb,
       %(opened_at)s, %(opening)s::bigint[], %(day_at)s, %(day)s::bigint[], %(upto)s::date,
       %(energy)s::bigint[]
FROM prepaid.state AS s WHERE s.agreement = %(agreement)s
ON CONFLICT (agreement) DO UPDATE SET
    hourly = excluded.hourly, start_day = excluded.start_day, shape = excluded.shape,
    before_wh = excluded.before_wh, opened_at = excluded.opened_at,
    opening_wh = excluded.opening_wh, day_at = excluded.day_at, day_wh = excluded.day_wh,
    upto_day = excluded.upto_day, energy_wh = excluded.energy_wh;

-- delete_stretch
-- The open stretch of an agreement that goes on under a tariff of ladder years. Locks the row.
DELETE FROM prepaid.open_stretch AS o WHERE o.agreement = %(agreement)s;

-- note_uses
-- The open stretches named, with what their stored fees were computed from. Locks the rows.
UPDATE prepaid.open_stretch AS o
SET upto_day = u.upto, energy_wh = u.energy::bigint[]
FROM unnest(%(agreements)s::text[], %(uptos)s::date[], %(energies)s::text[])
    AS u (agreement, upto, energy)
WHERE o.agreement = u.agreement;

-- begin_day
-- The open stretch of one agreement, where its new day begins. Locks the row.
UPDATE prepaid.open_stretch AS o
SET day_at = %(day_at)s, day_wh = %(day)s::bigint[]
WHERE o.agreement = %(agreement)s;

-- drawdowns_in_order
-- Every day drawn of an agreement, as they were written; no locks.
SELECT d.agreement, d.account, d.day, d.segment_seq, d.from_register_wh, d.register_wh,
       d.register_at, d.fee_micros, d.amount_micros, d.tariff_hash, d.entry_id, d.seq, d.energy_wh
FROM prepaid.drawdown AS d
WHERE d.agreement = %(agreement)s
ORDER BY d.id;

-- stretch_ends
-- The last day drawn of each segment before a day, of the agreements named; no locks.
SELECT DISTINCT ON (d.agreement, d.segment_seq)
       d.agreement, d.account, d.day, d.segment_seq, d.from_register_wh, d.register_wh,
       d.register_at, d.fee_micros, d.amount_micros, d.tariff_hash, d.entry_id, d.seq, d.energy_wh
FROM unnest(%(agreements)s::text[], %(ends)s::date[]) AS u (agreement, before)
JOIN prepaid.drawdown AS d ON d.agreement = u.agreement AND d.day < u.before
ORDER BY d.agreement, d.segment_seq, d.day DESC, d.seq DESC;

-- set_drawn
-- One state: what the ledger took for all its days. Locks the row.
UPDATE prepaid.state AS s SET drawn_micros = %(drawn)s WHERE s.agreement = %(agreement)s;

-- billed_until
-- The day up to which bills of an agreement stand, or none; no locks.
SELECT b.period_end FROM bills.billed_until AS b WHERE b.agreement = %(agreement)s;
