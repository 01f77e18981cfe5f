-- insert_run
-- One row, or none when that run stands already.
INSERT INTO bills.run
    (book, kind, period_start, period_end, seq, zone, gate, opened_by, opened_at, stage_at)
VALUES (%(book)s, 'cycle', %(start)s, %(end)s, %(seq)s, %(zone)s, %(gate)s, %(actor)s, %(now)s, %(now)s)
ON CONFLICT ON CONSTRAINT run_once DO NOTHING
RETURNING id;

-- runs_of_period
-- The runs of one book and period, oldest first; no locks.
SELECT r.id, r.book, r.period_start, r.period_end, r.seq, r.stage, r.gate, r.opened_by, r.zone
FROM bills.run AS r
WHERE r.book = %(book)s AND r.period_start = %(start)s AND r.period_end = %(end)s
ORDER BY r.seq;

-- run_by_id
-- One run; no locks.
SELECT r.id, r.book, r.period_start, r.period_end, r.seq, r.stage, r.gate, r.opened_by, r.zone
FROM bills.run AS r WHERE r.id = %(run)s;

-- newest_runs
-- The newest runs; no locks.
SELECT r.id, r.book, r.period_start, r.period_end, r.seq, r.stage, r.gate, r.opened_by, r.zone
FROM bills.run AS r ORDER BY r.id DESC LIMIT %(limit)s::int;

-- lock_run
-- Locks one run's row until commit, so that two that move it on take turns.
SELECT r.stage FROM bills.run AS r WHERE r.id = %(run)s FOR NO KEY UPDATE;

-- lock_open_runs
-- Locks the rows of all runs that are not closed, by number, until commit: who issues bills outside
-- of a run and who posts a run's bills take turns.
SELECT r.id FROM bills.run AS r WHERE r.stage <> 'closed' ORDER BY r.id FOR NO KEY UPDATE;

-- set_stage
-- One run moves on.
UPDATE bills.run AS r
SET stage = %(stage)s, stage_at = %(now)s,
    closed_by = coalesce(%(closed_by)s::text, r.closed_by),
    sheet_hash = coalesce(%(sheet_hash)s::bytea, r.sheet_hash)
WHERE r.id = %(run)s;

-- assign_book
-- Accounts put into a book, each taken out of the one it was in; locks their rows.
INSERT INTO bills.book_account (account, book, set_by, set_at)
SELECT u.account, %(book)s, %(actor)s, %(now)s::timestamptz
FROM unnest(%(accounts)s::text[]) AS u (account)
ORDER BY u.account
ON CONFLICT (account) DO UPDATE
SET book = excluded.book, set_by = excluded.set_by, set_at = excluded.set_at;

-- unfrozen_agreements
-- Agreements of the run's book that began before its end, have no standing bill of its period and
-- no item of this run, in pages by name; no locks.
SELECT o.agreement, o.account, o.usage_point, o.currency, o.tariff_code, o.pinned_hash,
       o.attributes::text, o.started_at, o.opening_register_wh, o.opening_year_wh
FROM customers.open_agreement AS o
LEFT JOIN bills.book_account AS k ON k.account = o.account
WHERE coalesce(k.book, 'main') = %(book)s
  AND o.started_at < %(end_at)s
  AND o.agreement > %(after)s
  AND NOT EXISTS (
      SELECT 1 FROM bills.item AS i WHERE i.run = %(run)s AND i.agreement = o.agreement)
  AND NOT EXISTS (
      SELECT 1 FROM bills.standing AS b
      WHERE b.agreement = o.agreement AND b.period_end = %(end)s::date AND b.kind = ANY (%(kinds)s))
ORDER BY o.agreement
LIMIT %(limit)s::int;

-- agreements_named
-- Open agreements by name, in that order; no locks.
SELECT o.agreement, o.account, o.usage_point, o.currency, o.tariff_code, o.pinned_hash,
       o.attributes::text, o.started_at, o.opening_register_wh, o.opening_year_wh
FROM customers.open_agreement AS o
WHERE o.agreement = ANY (%(agreements)s::text[])
ORDER BY o.agreement;

-- insert_items
-- Items that are new in their run.
INSERT INTO bills.item
    (run, agreement, account, usage_point, currency, kind, state, reasons, detail, period_start,
     period_end, usage, versions, input_hash, quality, method, start_wh, end_wh, energy_wh,
     credits, drawn_micros, facts)
SELECT %(run)s, u.agreement, u.account, u.usage_point, u.currency, u.kind, u.state,
       CASE WHEN u.reason = '' THEN '{}'::text[] ELSE ARRAY[u.reason] END, u.detail,
       u.period_start, u.period_end, u.usage, string_to_array(u.versions, ','), u.input_hash,
       u.quality, u.method, u.start_wh, u.end_wh, u.energy_wh,
       string_to_array(u.credits, ',')::bigint[], u.drawn, u.facts
FROM unnest(%(agreements)s::text[], %(accounts)s::text[], %(usage_points)s::text[],
            %(currencies)s::text[], %(kinds)s::text[], %(states)s::text[], %(reasons)s::text[],
            %(details)s::text[], %(starts)s::date[], %(ends)s::date[], %(usages)s::text[],
            %(versions)s::text[], %(hashes)s::bytea[], %(qualities)s::text[],
            %(methods)s::text[], %(start_whs)s::bigint[], %(end_whs)s::bigint[],
            %(energies)s::bigint[], %(credits)s::text[], %(drawn)s::bigint[],
            %(facts)s::bytea[])
    AS u (agreement, account, usage_point, currency, kind, state, reason, detail, period_start,
          period_end, usage, versions, input_hash, quality, method, start_wh, end_wh, energy_wh,
          credits, drawn, facts)
ON CONFLICT (run, agreement) DO UPDATE
SET kind = excluded.kind, state = excluded.state, reasons = excluded.reasons,
    detail = excluded.detail, period_start = excluded.period_start,
    period_end = excluded.period_end, usage = excluded.usage, versions = excluded.versions,
    input_hash = excluded.input_hash, quality = excluded.quality, method = excluded.method,
    start_wh = excluded.start_wh, end_wh = excluded.end_wh, energy_wh = excluded.energy_wh,
    credits = excluded.credits, drawn_micros = excluded.drawn_micros, lines = '[]',
    facts = excluded.facts,
    total_micros = NULL, closing_micros = NULL, accepted_by = NULL
WHERE item.state <> 'billed';

-- items_in_state
-- Items of one run in one state, in pages by name; no locks.
SELECT i.run, i.agreement, i.account, i.usage_point, i.currency, i.kind, i.state, i.reasons,
       i.detail, i.period_start, i.period_end, i.usage, i.versions, i.input_hash, i.quality,
       i.method, i.start_wh, i.end_wh, i.energy_wh, i.credits, i.drawn_micros, i.lines,
       i.total_micros, i.closing_micros, i.accepted_by, i.bill, i.facts
FROM bills.item AS i
WHERE i.run = %(run)s AND i.state = %(state)s AND i.agreement > %(after)s
ORDER BY i.agreement
LIMIT %(limit)s::int;

-- item_for_update
-- One item, locked until commit.
SELECT i.run, i.agreement, i.account, i.usage_point, i.currency, i.kind, i.state, i.reasons,
       i.detail, i.period_start, i.period_end, i.usage, i.versions, i.input_hash, i.quality,
       i.method, i.start_wh, i.end_wh, i.energy_wh, i.credits, i.drawn_micros, i.lines,
       i.total_micros, i.closing_micros, i.accepted_by, i.bill, i.facts
FROM bills.item AS i
WHERE i.run = %(run)s AND i.agreement = %(agreement)s FOR UPDATE;

-- set_states
-- Items named take a state and reasons; locks their rows.
UPDATE bills.item AS i
SET state = u.state,
    reasons = CASE WHEN u.reasons = '' THEN '{}'::text[] ELSE string_to_array(u.reasons, ',') END,
    detail = u.detail, accepted_by = coalesce(%(accepted_by)s::text, i.accepted_by)
FROM unnest(%(agreements)s::text[], %(states)s::text[], %(reasons)s::text[], %(details)s::text[])
    AS u (agreement, state, reasons, detail)
WHERE i.run = %(run)s AND i.agreement = u.agreement AND i.state <> 'billed';

-- set_prices
-- Items named take their price; locks their rows.
UPDATE bills.item AS i
SET state = u.state, lines = u.lines, total_micros = u.total, closing_micros = u.closing,
    reasons = CASE WHEN u.reason = '' THEN '{}'::text[] ELSE ARRAY[u.reason] END,
    detail = u.detail
FROM unnest(%(agreements)s::text[], %(states)s::text[], %(lines)s::text[], %(totals)s::bigint[],
            %(closings)s::bigint[], %(reasons)s::text[], %(details)s::text[])
    AS u (agreement, state, lines, total, closing, reason, detail)
WHERE i.run = %(run)s AND i.agreement = u.agreement AND i.state <> 'billed';

-- set_billed
-- Items named have become bills.
UPDATE bills.item AS i
SET state = 'billed', bill = u.bill
FROM unnest(%(agreements)s::text[], %(bills)s::bigint[]) AS u (agreement, bill)
WHERE i.run = %(run)s AND i.agreement = u.agreement AND i.state = 'priced';

-- count_states
-- How many items of a run are in each state; no locks.
SELECT i.state, count(*) FROM bills.item AS i WHERE i.run = %(run)s GROUP BY i.state;

-- insert_approval
-- One row, or none when that person agreed to this input in this matter before.
INSERT INTO bills.approval (run, agreement, input_hash, matter, actor, at)
VALUES (%(run)s, %(agreement)s, %(input_hash)s, %(matter)s, %(actor)s, %(now)s)
ON CONFLICT DO NOTHING;

-- approvers
-- Who agreed to an item's present input in one matter; no locks.
SELECT a.actor FROM bills.approval AS a
WHERE a.run = %(run)s AND a.agreement = %(agreement)s AND a.input_hash = %(input_hash)s
  AND a.matter = %(matter)s
ORDER BY a.at, a.actor;

-- class_daily
-- Daily Wh of the items of a run that were read, by tariff version; no locks.
SELECT i.versions[cardinality(i.versions)], sum(i.energy_wh)::bigint,
       sum(i.period_end - i.period_start)::bigint
FROM bills.item AS i
WHERE i.run = %(run)s AND i.quality = 'actual' AND i.state <> 'parked'
GROUP BY 1;

-- uncovered
-- Active agreements of the run's book with none of bill, hold, exception; no locks.
SELECT o.agreement, count(*) OVER ()
FROM customers.open_agreement AS o
LEFT JOIN bills.book_account AS k ON k.account = o.account
WHERE coalesce(k.book, 'main') = %(book)s
  AND o.started_at < %(end_at)s
  AND NOT EXISTS (
      SELECT 1 FROM bills.item AS i WHERE i.run = %(run)s AND i.agreement = o.agreement)
  AND NOT EXISTS (
      SELECT 1 FROM bills.standing AS b
      WHERE b.agreement = o.agreement AND b.period_end = %(end)s::date AND b.kind = ANY (%(kinds)s))
ORDER BY o.agreement LIMIT %(limit)s::int;
