-- An order whose cause has gone by itself is settled without a visit: no outcome, and by no person.
ALTER TABLE work.order
    DROP CONSTRAINT order_done_reported,
    ADD CONSTRAINT order_done_reported CHECK (
        state IN ('raised', 'assigned') OR outcome IS NOT NULL
        OR (state = 'verified' AND verified_by = 'system:work'));
