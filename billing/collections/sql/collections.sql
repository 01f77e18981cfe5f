-- open_case
-- One row, or none when the agreement has an open case.
INSERT INTO collections.dunning_case
    (agreement, account, usage_point, state, opened_at, dunned_at, notice_ends_at, changed_at,
     steps)
VALUES (%(agreement)s, %(account)s, %(usage_point)s, %(state)s, %(now)s, %(dunned_at)s,
        %(notice_ends_at)s, %(now)s, 1)
ON CONFLICT (agreement) WHERE closed_at IS NULL DO NOTHING
RETURNING id;

-- lock_case
-- One case. Takes its row lock until commit.
SELECT c.id, c.agreement, c.account, c.usage_point, c.state, c.opened_at, c.dunned_at,
       c.notice_ends_at, c.request_id, c.reason, c.changed_at, c.closed_at, c.steps
FROM collections.dunning_case AS c
WHERE c.id = %(case)s
FOR UPDATE;

-- update_case
-- One row that the caller has locked.
UPDATE collections.dunning_case AS c
SET state = %(state)s, dunned_at = coalesce(%(dunned_at)s, c.dunned_at),
    notice_ends_at = coalesce(%(notice_ends_at)s, c.notice_ends_at),
    request_id = coalesce(%(request_id)s, c.request_id), reason = %(reason)s,
    changed_at = %(now)s, closed_at = %(closed_at)s, steps = c.steps + 1
WHERE c.id = %(case)s;

-- insert_transition
-- One row; a transition is never changed.
INSERT INTO collections.transition
    (case_id, seq, at, was, event, became, actor, reason, figures)
VALUES (%(case)s, %(seq)s, %(now)s, %(was)s, %(event)s, %(became)s, %(actor)s, %(reason)s,
        %(figures)s);

-- open_cases
-- Every case that has not ended, oldest first; no locks.
SELECT c.id, c.agreement, c.account, c.usage_point, c.state, c.opened_at, c.dunned_at,
       c.notice_ends_at, c.request_id, c.reason, c.changed_at, c.closed_at, c.steps
FROM collections.dunning_case AS c
WHERE c.closed_at IS NULL
ORDER BY c.id;

-- cases_of
-- Cases at one usage point, newest first; no locks.
SELECT c.id, c.agreement, c.account, c.usage_point, c.state, c.opened_at, c.dunned_at,
       c.notice_ends_at, c.request_id, c.reason, c.changed_at, c.closed_at, c.steps
FROM collections.dunning_case AS c
WHERE c.usage_point = %(usage_point)s
ORDER BY c.id DESC;

-- open_case_of_agreement
-- The open case of an agreement, or none; no locks.
SELECT c.id FROM collections.dunning_case AS c
WHERE c.agreement = %(agreement)s AND c.closed_at IS NULL;

-- transitions_of
-- Moves of one case, oldest first; no locks.
SELECT t.at, t.was, t.event, t.became, t.actor, t.reason, t.figures
FROM collections.transition AS t
WHERE t.case_id = %(case)s
ORDER BY t.seq;

-- watermark
-- How far a stream was read, or none. Takes the row lock so that two readers take turns.
SELECT w.seq FROM collections.watermark AS w WHERE w.stream = %(stream)s FOR UPDATE;

-- set_watermark
-- One row, inserted or moved on.
INSERT INTO collections.watermark (stream, seq) VALUES (%(stream)s, %(seq)s)
ON CONFLICT (stream) DO UPDATE SET seq = greatest(collections.watermark.seq, excluded.seq);
