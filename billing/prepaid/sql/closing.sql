-- forget_state
-- The state of one agreement whose balance is settled, gone; locks it. The sweep's lock is held.
DELETE FROM prepaid.state AS s WHERE s.agreement = %(agreement)s RETURNING s.account;
