-- Two people let a blocked bill pass: what they agree to stands beside that they do, since whoever
-- let doubtful energy pass has said nothing of a large amount.
ALTER TABLE bills.approval
    ADD COLUMN matter text NOT NULL DEFAULT 'amount',
    DROP CONSTRAINT approval_pk,
    ADD CONSTRAINT approval_pk PRIMARY KEY (run, agreement, input_hash, matter, actor),
    ADD CONSTRAINT approval_matter_known CHECK (matter IN ('amount', 'accept', 'estimate'));

-- Every bill asks whether something blocks it; hardly ever does anything.
CREATE INDEX exception_blocking
    ON vee.exception (usage_point, day) WHERE severity = 'blocking' AND closed_at IS NULL;
