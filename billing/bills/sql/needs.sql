-- still_needed
-- By kind: how many need intervals of days before one, from which day on, and one of them by name;
-- a dispute counts while it lasts. No locks.
SELECT n.kind, count(*), min(n.first_day), min(n.reference)
FROM bills.still_needed AS n
WHERE n.first_day < %(until)s::date AND (n.kind <> 'dispute' OR n.last_day >= %(today)s::date)
GROUP BY n.kind ORDER BY n.kind;
