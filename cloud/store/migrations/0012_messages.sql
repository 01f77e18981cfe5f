-- What customers and crews are told, and what became of it.
CREATE SCHEMA messages;

CREATE TABLE messages.contact (
    subject text NOT NULL,
    phone text NOT NULL,
    language text NOT NULL,
    mode text NOT NULL DEFAULT 'sms',
    problem text NOT NULL DEFAULT '',
    changed_at timestamptz NOT NULL,
    CONSTRAINT contact_pk PRIMARY KEY (subject),
    CONSTRAINT contact_language_known CHECK (language IN ('fa', 'zh', 'uz', 'ru', 'en')),
    CONSTRAINT contact_mode_known CHECK (mode IN ('sms', 'paper'))
);
COMMENT ON COLUMN messages.contact.problem IS 'why the number cannot be used (F11), or empty';

CREATE TABLE messages.message (
    id text NOT NULL DEFAULT 'S-' || replace(gen_random_uuid()::text, '-', ''),
    number bigint GENERATED ALWAYS AS IDENTITY,
    dedupe_key text NOT NULL,
    kind text NOT NULL,
    subject text NOT NULL,
    phone text NOT NULL,
    language text NOT NULL,
    variables jsonb NOT NULL,
    text text NOT NULL,
    channel text NOT NULL,
    state text NOT NULL,
    cause text NOT NULL DEFAULT '',
    segments smallint NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    next_try_wall timestamptz,
    enqueued_at timestamptz NOT NULL,
    sent_at timestamptz,
    delivered_at timestamptz,
    CONSTRAINT message_pk PRIMARY KEY (id),
    CONSTRAINT message_once UNIQUE (dedupe_key),
    CONSTRAINT message_channel_known CHECK (channel IN ('sms', 'paper')),
    CONSTRAINT message_state_known
        CHECK (state IN ('queued', 'sent', 'delivered', 'failed', 'paper', 'printed'))
);
COMMENT ON COLUMN messages.message.next_try_wall IS 'wall time: the gateway is a machine';
CREATE INDEX message_due ON messages.message (number) WHERE state = 'queued';
CREATE INDEX message_of ON messages.message (subject, number);

GRANT USAGE ON SCHEMA messages TO meterloop_control, meterloop_billing, meterloop_portal;
GRANT SELECT, INSERT, UPDATE ON messages.message, messages.contact TO
    meterloop_control, meterloop_billing, meterloop_portal;
