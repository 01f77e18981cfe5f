-- Who pays, and on what terms. One writer: billing (the portal changes particulars through it).
CREATE SCHEMA customers;

CREATE TABLE customers.customer (
    id text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    language text NOT NULL,
    phone text NOT NULL DEFAULT '',
    registered_at timestamptz NOT NULL,
    CONSTRAINT customer_pk PRIMARY KEY (id),
    CONSTRAINT customer_kind_known CHECK (kind IN ('household', 'legal')),
    CONSTRAINT customer_language_known CHECK (language IN ('fa', 'zh', 'uz', 'ru', 'en'))
);

CREATE TABLE customers.account (
    id text NOT NULL,
    customer text NOT NULL REFERENCES customers.customer (id),
    currency text NOT NULL,
    opened_at timestamptz NOT NULL,
    CONSTRAINT account_pk PRIMARY KEY (id),
    CONSTRAINT account_currency_form CHECK (currency ~ '^[A-Z]{3}$')
);
CREATE INDEX account_customer ON customers.account (customer);

CREATE TABLE customers.agreement (
    id text NOT NULL,
    account text NOT NULL REFERENCES customers.account (id),
    usage_point text NOT NULL,
    tariff_code text NOT NULL,
    pinned_hash text,
    attributes jsonb NOT NULL DEFAULT '{}',
    started_at timestamptz NOT NULL,
    ended_at timestamptz,
    opening_register_wh bigint,
    opening_year_wh bigint NOT NULL DEFAULT 0,
    content bytea NOT NULL,
    CONSTRAINT agreement_pk PRIMARY KEY (id),
    CONSTRAINT agreement_ends_later CHECK (ended_at IS NULL OR ended_at > started_at),
    CONSTRAINT agreement_opening_not_negative
        CHECK (opening_year_wh >= 0 AND (opening_register_wh IS NULL OR opening_register_wh >= 0))
);
COMMENT ON COLUMN customers.agreement.content IS
    'SHA-256 of the record as registered: the same record twice is one, another is refused';
-- A usage point has one payer at a time, and a prepaid account pays for one usage point.
CREATE UNIQUE INDEX agreement_open_usage_point ON customers.agreement (usage_point)
    WHERE ended_at IS NULL;
CREATE UNIQUE INDEX agreement_open_account ON customers.agreement (account)
    WHERE ended_at IS NULL;

-- Lines and switches by level; the one nearest to the customer wins, column by column.
CREATE TABLE customers.threshold (
    level text NOT NULL,
    target text NOT NULL,
    reminder_micros bigint,
    cut_micros bigint,
    notification text,
    auto_remind boolean,
    auto_dun boolean,
    auto_restore boolean,
    notice_hours integer,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL,
    CONSTRAINT threshold_pk PRIMARY KEY (level, target),
    CONSTRAINT threshold_level_known CHECK (level IN ('default', 'transformer', 'agreement')),
    CONSTRAINT threshold_notification_known CHECK (notification IN ('sms', 'paper')),
    CONSTRAINT threshold_default_complete CHECK (
        level <> 'default' OR (
            reminder_micros IS NOT NULL AND cut_micros IS NOT NULL AND notification IS NOT NULL
            AND auto_remind IS NOT NULL AND auto_dun IS NOT NULL AND auto_restore IS NOT NULL
            AND notice_hours IS NOT NULL
        )
    ),
    CONSTRAINT threshold_cut_not_above_zero CHECK (cut_micros IS NULL OR cut_micros <= 0),
    CONSTRAINT threshold_notice_not_negative CHECK (notice_hours IS NULL OR notice_hours >= 0)
);
INSERT INTO customers.threshold VALUES
    ('default', 'CNY', 20000000, 0, 'sms', true, true, true, 24, 'system:billing', 'epoch'),
    ('default', 'UZS', 20000000000, 0, 'sms', true, true, true, 24, 'system:billing', 'epoch'),
    ('default', 'IRR', 500000000000, 0, 'sms', true, true, true, 24, 'system:billing', 'epoch');

-- What other contexts may read: one row per open agreement.
CREATE VIEW customers.open_agreement AS
SELECT g.id AS agreement, g.account, g.usage_point, a.currency, g.tariff_code, g.pinned_hash,
       g.attributes, g.started_at, g.opening_register_wh, g.opening_year_wh
FROM customers.agreement AS g
JOIN customers.account AS a ON a.id = g.account
WHERE g.ended_at IS NULL;

GRANT USAGE ON SCHEMA customers TO meterloop_billing, meterloop_portal, meterloop_control;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA customers TO meterloop_billing;
GRANT SELECT ON ALL TABLES IN SCHEMA customers TO meterloop_portal;
GRANT UPDATE (phone, language) ON customers.customer TO meterloop_portal;
GRANT INSERT, UPDATE ON customers.threshold TO meterloop_portal;
