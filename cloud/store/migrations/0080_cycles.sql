-- Reading cycles: routes and their timetables, readers, lists, what was entered, what was decided.
CREATE SCHEMA cycles;

CREATE TABLE cycles.route (
    id text NOT NULL,
    unit text NOT NULL,
    name text NOT NULL,
    zone text NOT NULL,
    opens_day smallint NOT NULL,
    reading_days smallint NOT NULL,
    sales_after smallint NOT NULL,
    collection_after smallint NOT NULL,
    every_months smallint NOT NULL,
    from_month smallint NOT NULL,
    CONSTRAINT route_pk PRIMARY KEY (id),
    CONSTRAINT route_unit_fk FOREIGN KEY (unit) REFERENCES org.unit (id),
    CONSTRAINT route_opens_in_every_month CHECK (opens_day BETWEEN 1 AND 28),
    CONSTRAINT route_reading_bounded CHECK (reading_days BETWEEN 1 AND 60),
    CONSTRAINT route_in_order CHECK (0 <= sales_after AND sales_after <= collection_after),
    CONSTRAINT route_rhythm_known CHECK (
        every_months IN (1, 2, 3, 4, 6, 12) AND from_month BETWEEN 1 AND 12)
);

-- A point is walked on one route, at one place of it.
CREATE TABLE cycles.route_point (
    usage_point text NOT NULL,
    route text NOT NULL,
    position integer NOT NULL,
    CONSTRAINT route_point_pk PRIMARY KEY (usage_point),
    CONSTRAINT route_point_place UNIQUE (route, position) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT route_point_route_fk FOREIGN KEY (route) REFERENCES cycles.route (id),
    CONSTRAINT route_point_point_fk FOREIGN KEY (usage_point) REFERENCES assets.usage_point (id)
);

-- Days of a unit on which nobody reads; weekends are a rule and not written down.
CREATE TABLE cycles.holiday (
    unit text NOT NULL,
    day date NOT NULL,
    name text NOT NULL,
    CONSTRAINT holiday_pk PRIMARY KEY (unit, day),
    CONSTRAINT holiday_unit_fk FOREIGN KEY (unit) REFERENCES org.unit (id)
);

CREATE TABLE cycles.reader (
    id text NOT NULL,
    name text NOT NULL,
    login text NOT NULL,
    unit text NOT NULL,
    daily integer NOT NULL,
    on_duty boolean NOT NULL,
    CONSTRAINT reader_pk PRIMARY KEY (id),
    CONSTRAINT reader_login_once UNIQUE (login),
    CONSTRAINT reader_unit_fk FOREIGN KEY (unit) REFERENCES org.unit (id),
    CONSTRAINT reader_daily_sane CHECK (daily BETWEEN 0 AND 2000)
);

CREATE TABLE cycles.cycle (
    id bigint GENERATED ALWAYS AS IDENTITY,
    route text NOT NULL,
    period text NOT NULL,
    opens date NOT NULL,
    due date NOT NULL,
    sales date NOT NULL,
    collection date NOT NULL,
    state text NOT NULL DEFAULT 'planned',
    opened_by text NOT NULL DEFAULT '',
    closed_by text NOT NULL DEFAULT '',
    closed_at timestamptz,
    CONSTRAINT cycle_pk PRIMARY KEY (id),
    CONSTRAINT cycle_once UNIQUE (route, period),
    CONSTRAINT cycle_route_fk FOREIGN KEY (route) REFERENCES cycles.route (id),
    CONSTRAINT cycle_state_known CHECK (state IN ('planned', 'open', 'closed', 'cancelled')),
    CONSTRAINT cycle_in_order CHECK (opens <= due AND due <= sales AND sales <= collection),
    CONSTRAINT cycle_closed_whole CHECK ((state = 'closed') = (closed_at IS NOT NULL))
);

-- last_wh and read_wh are what the meter showed; daily_wh is the average use before the cycle.
CREATE TABLE cycles.task (
    id bigint GENERATED ALWAYS AS IDENTITY,
    cycle bigint NOT NULL,
    position integer NOT NULL,
    usage_point text NOT NULL,
    meter text NOT NULL,
    concentrator text NOT NULL,
    reader text,
    state text NOT NULL DEFAULT 'listed',
    last_at timestamptz,
    last_wh bigint,
    daily_wh bigint,
    read_at timestamptz,
    read_wh bigint,
    source text,
    miss text,
    doubts text[] NOT NULL DEFAULT '{}',
    CONSTRAINT task_pk PRIMARY KEY (id),
    CONSTRAINT task_once UNIQUE (cycle, usage_point),
    CONSTRAINT task_cycle_fk FOREIGN KEY (cycle) REFERENCES cycles.cycle (id),
    CONSTRAINT task_reader_fk FOREIGN KEY (reader) REFERENCES cycles.reader (id),
    CONSTRAINT task_state_known CHECK (
        state IN ('listed', 'assigned', 'in_review', 'read', 'unread')),
    CONSTRAINT task_read_whole CHECK (
        state NOT IN ('read', 'in_review') OR (read_at IS NOT NULL AND read_wh IS NOT NULL)),
    CONSTRAINT task_unread_says_why CHECK ((state = 'unread') = (miss IS NOT NULL))
);
CREATE INDEX task_of_reader ON cycles.task (reader, cycle) WHERE reader IS NOT NULL;
CREATE INDEX task_of_point ON cycles.task (usage_point, cycle);

-- What came, as it came. boot and seq name the batch in which ingest got the figure.
CREATE TABLE cycles.entry (
    task bigint NOT NULL,
    key text NOT NULL,
    source text NOT NULL,
    read_at timestamptz NOT NULL,
    meter text,
    wh bigint,
    miss text,
    observations text[] NOT NULL,
    note text NOT NULL,
    photo text NOT NULL,
    doubts text[] NOT NULL,
    actor text NOT NULL,
    entered_at timestamptz NOT NULL,
    CONSTRAINT entry_pk PRIMARY KEY (task, key),
    CONSTRAINT entry_task_fk FOREIGN KEY (task) REFERENCES cycles.task (id),
    CONSTRAINT entry_source_known CHECK (source IN ('hand', 'handheld', 'machine')),
    CONSTRAINT entry_figure_or_code CHECK ((wh IS NULL) <> (miss IS NULL))
);
CREATE INDEX entry_by_time ON cycles.entry (entered_at);

-- A believed figure on its way to ingest; seq counts without gaps, as batches of a box do.
CREATE TABLE cycles.delivery (
    concentrator text NOT NULL,
    seq bigint NOT NULL,
    task bigint NOT NULL,
    key text NOT NULL,
    queued_at timestamptz NOT NULL,
    delivered_at timestamptz,
    believed boolean,
    CONSTRAINT delivery_pk PRIMARY KEY (concentrator, seq),
    CONSTRAINT delivery_entry_once UNIQUE (task, key),
    CONSTRAINT delivery_entry_fk FOREIGN KEY (task, key) REFERENCES cycles.entry (task, key),
    CONSTRAINT delivery_whole CHECK ((delivered_at IS NULL) = (believed IS NULL))
);
CREATE INDEX delivery_waiting ON cycles.delivery (queued_at) WHERE delivered_at IS NULL;

-- What a second person decided of a doubted figure.
CREATE TABLE cycles.decision (
    id bigint GENERATED ALWAYS AS IDENTITY,
    task bigint NOT NULL,
    event text NOT NULL,
    reason text NOT NULL,
    actor text NOT NULL,
    at timestamptz NOT NULL,
    CONSTRAINT decision_pk PRIMARY KEY (id),
    CONSTRAINT decision_task_fk FOREIGN KEY (task) REFERENCES cycles.task (id),
    CONSTRAINT decision_event_known CHECK (event IN ('accept', 'reject', 'keep')),
    CONSTRAINT decision_says_why CHECK (reason <> '')
);
CREATE INDEX decision_task ON cycles.decision (task);

CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cycles.entry
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER decision_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON cycles.decision
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();

GRANT USAGE ON SCHEMA cycles TO meterloop_portal, meterloop_billing, meterloop_ingest;
GRANT SELECT ON ALL TABLES IN SCHEMA cycles TO
    meterloop_portal, meterloop_billing, meterloop_ingest;
GRANT INSERT ON ALL TABLES IN SCHEMA cycles TO meterloop_portal;
GRANT UPDATE ON cycles.route, cycles.route_point, cycles.reader, cycles.cycle, cycles.task,
    cycles.delivery TO meterloop_portal;
GRANT DELETE ON cycles.route_point, cycles.holiday TO meterloop_portal;
-- a figure by hand takes the road of every reading: the ingest process brings it there
GRANT UPDATE ON cycles.task, cycles.delivery TO meterloop_ingest;
