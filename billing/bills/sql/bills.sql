-- insert_bills
-- Bills that are new by account, period, kind and seq.
INSERT INTO bills.bill
    (run, agreement, account, usage_point, currency, period_start, period_end, kind, seq, usage,
     versions, input_hash, kernel_version, quality, method, start_wh, end_wh, energy_wh, lines,
     total_micros, posted_micros, entry_id, corrects, reason, issued_at, due_on, actor)
SELECT u.run, u.agreement, u.account, u.usage_point, u.currency, u.period_start, u.period_end,
       u.kind, u.seq, u.usage, string_to_array(u.versions, ','), u.input_hash, u.kernel_version,
       u.quality, u.method, u.start_wh, u.end_wh, u.energy_wh, u.lines, u.total, u.posted,
       u.entry_id, u.corrects, u.reason, u.issued_at, u.due_on, u.actor
FROM unnest(%(runs)s::bigint[], %(agreements)s::text[], %(accounts)s::text[],
            %(usage_points)s::text[], %(currencies)s::text[], %(starts)s::date[],
            %(ends)s::date[], %(kinds)s::text[], %(seqs)s::integer[], %(usages)s::text[],
            %(versions)s::text[], %(hashes)s::bytea[], %(kernels)s::integer[],
            %(qualities)s::text[], %(methods)s::text[], %(start_whs)s::bigint[],
            %(end_whs)s::bigint[], %(energies)s::bigint[], %(lines)s::text[],
            %(totals)s::bigint[], %(posted)s::bigint[], %(entries)s::bigint[],
            %(corrects)s::bigint[], %(reasons)s::text[], %(issued)s::timestamptz[],
            %(dues)s::date[], %(actors)s::text[])
    AS u (run, agreement, account, usage_point, currency, period_start, period_end, kind, seq,
          usage, versions, input_hash, kernel_version, quality, method, start_wh, end_wh,
          energy_wh, lines, total, posted, entry_id, corrects, reason, issued_at, due_on, actor)
RETURNING id, account, period_start, period_end, kind, seq;

-- next_seqs
-- The highest seq used by each (account, period, kind); no locks.
SELECT b.account, b.period_start, b.period_end, b.kind, max(b.seq)
FROM bills.bill AS b
WHERE b.account = ANY (%(accounts)s::text[])
GROUP BY b.account, b.period_start, b.period_end, b.kind;

-- bills_by_id
-- The bills named, in order of number; no locks.
SELECT b.id, b.run, b.agreement, b.account, b.usage_point, b.currency, b.period_start,
       b.period_end, b.kind, b.seq, b.usage, b.versions, b.input_hash, b.kernel_version,
       b.quality, b.method, b.start_wh, b.end_wh, b.energy_wh, b.lines, b.total_micros,
       b.posted_micros, b.entry_id, b.corrects, b.reason, b.issued_at, b.due_on, b.actor,
       coalesce(c.kind, '')
FROM bills.bill AS b LEFT JOIN bills.cancellation AS c ON c.bill = b.id
WHERE b.id = ANY (%(bills)s::bigint[])
ORDER BY b.id;

-- bills_of_account
-- The newest bills of one account, cancelled ones too; no locks.
SELECT b.id, b.run, b.agreement, b.account, b.usage_point, b.currency, b.period_start,
       b.period_end, b.kind, b.seq, b.usage, b.versions, b.input_hash, b.kernel_version,
       b.quality, b.method, b.start_wh, b.end_wh, b.energy_wh, b.lines, b.total_micros,
       b.posted_micros, b.entry_id, b.corrects, b.reason, b.issued_at, b.due_on, b.actor,
       coalesce(c.kind, '')
FROM bills.bill AS b LEFT JOIN bills.cancellation AS c ON c.bill = b.id
WHERE b.account = %(account)s
ORDER BY b.id DESC LIMIT %(limit)s::int;

-- bills_of_run
-- The bills of one run, in pages by number; no locks.
SELECT b.id, b.run, b.agreement, b.account, b.usage_point, b.currency, b.period_start,
       b.period_end, b.kind, b.seq, b.usage, b.versions, b.input_hash, b.kernel_version,
       b.quality, b.method, b.start_wh, b.end_wh, b.energy_wh, b.lines, b.total_micros,
       b.posted_micros, b.entry_id, b.corrects, b.reason, b.issued_at, b.due_on, b.actor,
       coalesce(c.kind, '')
FROM bills.bill AS b LEFT JOIN bills.cancellation AS c ON c.bill = b.id
WHERE b.run = %(run)s AND b.id > %(after)s
ORDER BY b.id LIMIT %(limit)s::int;

-- metered_bills
-- Standing bills of metered time of the agreements named that end after a day, oldest first.
SELECT b.id, b.run, b.agreement, b.account, b.usage_point, b.currency, b.period_start,
       b.period_end, b.kind, b.seq, b.usage, b.versions, b.input_hash, b.kernel_version,
       b.quality, b.method, b.start_wh, b.end_wh, b.energy_wh, b.lines, b.total_micros,
       b.posted_micros, b.entry_id, b.corrects, b.reason, b.issued_at, b.due_on, b.actor,
       ''
FROM bills.standing AS b
WHERE b.agreement = ANY (%(agreements)s::text[]) AND b.period_end > %(since)s
  AND b.kind = ANY (%(kinds)s::text[])
ORDER BY b.agreement, b.period_start, b.id;

-- lock_agreement
-- An advisory lock on one agreement's bills until commit.
SELECT pg_advisory_xact_lock(730511745, hashtext(%(agreement)s::text));

-- insert_cancellation
-- One row: the bill stands no more.
INSERT INTO bills.cancellation (bill, kind, reason, actor, approver, entry_id, at)
VALUES (%(bill)s, %(kind)s, %(reason)s, %(actor)s, %(approver)s, %(entry)s, %(now)s);

-- corrected_by
-- The bill that took the place of another, or none; no locks.
SELECT b.id FROM bills.bill AS b WHERE b.corrects = %(bill)s;

-- undocumented_bills
-- Bills of a run without a document, in pages by number; no locks.
SELECT b.id FROM bills.bill AS b
WHERE b.run = %(run)s AND b.id > %(after)s
  AND NOT EXISTS (SELECT 1 FROM bills.document AS d WHERE d.bill = b.id)
ORDER BY b.id LIMIT %(limit)s::int;

-- insert_documents
-- One row per bill that had none.
INSERT INTO bills.document (bill, language, content, sha256, made_at)
SELECT u.bill, u.language, u.content, u.sha256, %(now)s::timestamptz
FROM unnest(%(bills)s::bigint[], %(languages)s::text[], %(contents)s::text[],
            %(hashes)s::bytea[])
    AS u (bill, language, content, sha256)
ON CONFLICT (bill) DO NOTHING;

-- document_of
-- Language, text and hash of a bill's document, or none; no locks.
SELECT d.language, d.content, d.sha256 FROM bills.document AS d WHERE d.bill = %(bill)s;

-- sheet_lines
-- Totals of a run by tariff and line; no locks.
SELECT l.tariff, l.line, l.ledger_code, b.currency, count(DISTINCT b.account),
       sum(l.energy_wh)::numeric, sum(l.amount_micros)::numeric
FROM bills.bill AS b
CROSS JOIN LATERAL jsonb_to_recordset(b.lines::jsonb)
    AS l (tariff text, line text, ledger_code text, energy_wh bigint, amount_micros bigint)
WHERE b.run = %(run)s
GROUP BY l.tariff, l.line, l.ledger_code, b.currency
ORDER BY l.tariff, l.line;

-- owed_lines
-- Lines of the bills of a run that were owed whole, by ledger code and currency; no locks. Each
-- bill asks its item by key: a join planned on counts of before the run reads the run per bill.
SELECT l.ledger_code, b.currency, sum(l.amount_micros)::numeric
FROM bills.bill AS b
CROSS JOIN LATERAL jsonb_to_recordset(b.lines::jsonb)
    AS l (ledger_code text, amount_micros bigint)
WHERE b.run = %(run)s
  AND (SELECT i.drawn_micros IS NULL FROM bills.item AS i
       WHERE i.run = b.run AND i.agreement = b.agreement)
GROUP BY l.ledger_code, b.currency;

-- drawn_totals
-- What the bills of drawn accounts moved, by currency; no locks. By key, as `owed_lines`.
SELECT b.currency, sum(b.posted_micros)::numeric
FROM bills.bill AS b
WHERE b.run = %(run)s
  AND (SELECT i.drawn_micros IS NOT NULL FROM bills.item AS i
       WHERE i.run = b.run AND i.agreement = b.agreement)
GROUP BY b.currency;

-- ledger_totals
-- What the ledger booked for a run's bills, by account code and currency, customers apart.
SELECT l.code, l.currency, -sum(l.side * l.amount_micros)::numeric
FROM bills.bill AS b JOIN ledger.posted_leg AS l ON l.entry_id = b.entry_id
WHERE b.run = %(run)s AND NOT l.kept
GROUP BY l.code, l.currency;

-- drawn_days
-- What prepayment drew of each agreement named in a span, and the day it has come to; no locks.
SELECT u.agreement, u.open_day, coalesce(sum(d.amount_micros), 0)::bigint,
       (array_agg(d.from_register_wh ORDER BY d.day))[1],
       (array_agg(d.register_wh ORDER BY d.day DESC))[1]
FROM prepaid.drawn_until AS u
LEFT JOIN prepaid.drawn_day AS d
    ON d.agreement = u.agreement AND d.day >= %(start)s AND d.day < %(end)s
WHERE u.agreement = ANY (%(agreements)s::text[])
GROUP BY u.agreement, u.open_day;
