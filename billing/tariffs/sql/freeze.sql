-- insert_freeze
-- One row: publishing stands still, or may go on. It is never changed.
INSERT INTO tariffs.freeze (at, frozen, actor, reason)
VALUES (%(now)s, %(frozen)s, %(actor)s, %(reason)s);

-- newest_freeze
-- Whether publishing stands still and why; no locks.
SELECT f.frozen, f.reason FROM tariffs.freeze AS f ORDER BY f.id DESC LIMIT 1;
