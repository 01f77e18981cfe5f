-- Money in. One row for each payment that a channel reported, once.
CREATE SCHEMA payments;

CREATE TABLE payments.payment (
    receipt_no text NOT NULL,
    channel text NOT NULL,
    peer_txn_id text NOT NULL,
    body_hash bytea NOT NULL,
    state text NOT NULL,
    account text NOT NULL,
    usage_point text NOT NULL DEFAULT '',
    amount_micros bigint NOT NULL,
    currency text NOT NULL,
    peer_time timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    actor text NOT NULL,
    entry_id bigint NOT NULL,
    available_micros bigint,
    CONSTRAINT payment_pk PRIMARY KEY (receipt_no),
    CONSTRAINT payment_once UNIQUE (channel, peer_txn_id),
    CONSTRAINT payment_entry_unique UNIQUE (entry_id),
    CONSTRAINT payment_amount_positive CHECK (amount_micros > 0),
    CONSTRAINT payment_state_known CHECK (state IN ('posted', 'suspense'))
);
COMMENT ON COLUMN payments.payment.account IS 'as the peer gave it; in suspense it is not ours';
CREATE INDEX payment_account ON payments.payment (account, received_at);
CREATE INDEX payment_channel_time ON payments.payment (channel, peer_time, receipt_no);
CREATE TRIGGER payment_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON payments.payment
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT USAGE ON SCHEMA payments TO meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT ON payments.payment TO meterloop_billing, meterloop_portal;
