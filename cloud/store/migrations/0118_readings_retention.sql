-- How the intervals of old months are let go: by policy, after somebody's word, with their counts.
-- Registers stay for ever: the cumulative of a usage point is a function of all of them.

-- Somebody's word that a month may go: it was exported (the readings counted then must be those
-- that go), or declared needless with a reason. The newest word counts.
CREATE TABLE ingest.month_released (
    no bigint GENERATED ALWAYS AS IDENTITY,
    month date NOT NULL,
    released_at timestamptz NOT NULL,
    how text NOT NULL,
    evidence text NOT NULL,
    readings bigint NOT NULL,
    released_by text NOT NULL,
    CONSTRAINT month_released_pk PRIMARY KEY (month, no),
    CONSTRAINT month_released_first CHECK (month = date_trunc('month', month::timestamp)::date),
    CONSTRAINT month_released_how CHECK (how IN ('exported', 'declared')),
    CONSTRAINT month_released_why CHECK (evidence <> '' AND released_by <> '')
);

-- What went with a month, and how much of each batch: no batch's account of itself is broken.
CREATE TABLE ingest.month_dropped (
    month date NOT NULL,
    series_days bigint NOT NULL,
    readings bigint NOT NULL,
    octets bigint NOT NULL,
    dropped_by text NOT NULL,
    dropped_at timestamptz NOT NULL,
    CONSTRAINT month_dropped_pk PRIMARY KEY (month)
);
CREATE TABLE ingest.batch_dropped (
    month date NOT NULL,
    batch bigint NOT NULL,
    readings bigint NOT NULL,
    CONSTRAINT batch_dropped_pk PRIMARY KEY (month, batch),
    CONSTRAINT batch_dropped_month FOREIGN KEY (month) REFERENCES ingest.month_dropped (month)
);
CREATE TRIGGER month_released_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON ingest.month_released FOR EACH STATEMENT EXECUTE FUNCTION ingest.refuse_change();
CREATE TRIGGER month_dropped_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON ingest.month_dropped FOR EACH STATEMENT EXECUTE FUNCTION ingest.refuse_change();
CREATE TRIGGER batch_dropped_append_only BEFORE UPDATE OR DELETE OR TRUNCATE
    ON ingest.batch_dropped FOR EACH STATEMENT EXECUTE FUNCTION ingest.refuse_change();

-- The first day of which intervals are kept; null while every day is.
CREATE FUNCTION ingest.kept_from() RETURNS date LANGUAGE sql STABLE AS $$
    SELECT (max(m.month) + interval '1 month')::date FROM ingest.month_dropped AS m
$$;

-- A day that readings have reached, whatever any clock of ours says: the newest open day with rows,
-- else the first of the newest month with packed rows. Null while nothing was stored.
CREATE FUNCTION ingest.reached_day() RETURNS date
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = ingest, pg_temp AS $$
DECLARE
    one record;
    found_one boolean;
BEGIN
    FOR one IN SELECT s.day FROM ingest.day_state AS s WHERE s.state = 'open' ORDER BY s.day DESC
    LOOP
        IF EXISTS (SELECT FROM ingest.reading AS r
                   WHERE r.at >= one.day::timestamp AT TIME ZONE 'UTC'
                     AND r.at < (one.day + 1)::timestamp AT TIME ZONE 'UTC') THEN
            RETURN one.day;
        END IF;
    END LOOP;
    FOR one IN SELECT c.relname AS name FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
               WHERE i.inhparent = 'ingest.day'::regclass ORDER BY c.relname DESC
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM ingest.%I)', one.name) INTO found_one;
        IF found_one THEN
            RETURN to_date(right(one.name, 6), 'YYYYMM');
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- Months of packed days whose intervals are still here, oldest first.
CREATE FUNCTION ingest.months_kept() RETURNS SETOF date
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = ingest, pg_temp AS $$
    SELECT k.month FROM (
        SELECT to_date(right(c.relname, 6), 'YYYYMM') AS month
        FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'ingest.day'::regclass
    ) AS k
    WHERE NOT EXISTS (SELECT FROM ingest.month_dropped AS m WHERE m.month = k.month)
    ORDER BY k.month
$$;

CREATE FUNCTION ingest.refuse_dropped() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM ingest.series AS s WHERE s.no = NEW.series AND s.seconds > 0) THEN
        RAISE EXCEPTION 'dropped: the intervals of % were let go', NEW.day
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END
$$;

-- Lets the intervals of a month go and keeps its registers; returns how many readings went, null
-- when they had gone before. The caller says the first day that its policy keeps. Refused, and
-- nothing changes: a month that readings reached lately, that is not past the policy, not packed,
-- not released, changed since it was exported, or younger than another that is still here.
CREATE FUNCTION ingest.drop_month(wanted date, keep_from date, actor text, now timestamptz)
    RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = ingest, pg_temp SET lock_timeout = '3s' AS $$
DECLARE
    name text := 'day_' || to_char(wanted, 'YYYYMM');
    until date := (wanted + interval '1 month')::date;
    reached date := ingest.reached_day();
    word record;
    went record;
    refusal text;
BEGIN
    PERFORM pg_advisory_xact_lock(730514, 0);
    IF EXISTS (SELECT FROM ingest.month_dropped AS m WHERE m.month = wanted) THEN
        RETURN NULL;
    END IF;
    SELECT r.how, r.readings INTO word FROM ingest.month_released AS r WHERE r.month = wanted
    ORDER BY r.no DESC LIMIT 1;
    refusal := CASE
        WHEN wanted IS DISTINCT FROM (SELECT min(k) FROM ingest.months_kept() AS k)
            THEN 'it is not the oldest month that is here'
        WHEN until > keep_from THEN 'the policy keeps it'
        WHEN reached IS NULL OR until + interval '1 month' > reached
            THEN 'readings have not come far beyond it'
        WHEN EXISTS (SELECT FROM ingest.day_state AS s
                     WHERE s.state = 'open' AND s.day >= wanted AND s.day < until)
            THEN 'a day of it is not packed'
        WHEN word IS NULL THEN 'it was neither exported nor declared needless'
    END;
    IF refusal IS NOT NULL THEN
        RAISE EXCEPTION 'kept: %: %', to_char(wanted, 'YYYY-MM'), refusal
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    EXECUTE format('LOCK TABLE ingest.%I IN ACCESS EXCLUSIVE MODE', name);
    EXECUTE format(
        'SELECT count(*) AS series_days, coalesce(sum(ingest.readings_in(d.body)), 0) AS readings,'
        ' coalesce(sum(octet_length(d.body)), 0) AS octets'
        ' FROM ingest.%I AS d JOIN ingest.series AS s ON s.no = d.series AND s.seconds > 0', name)
    INTO went;
    IF word.how = 'exported' AND word.readings <> went.readings THEN
        RAISE EXCEPTION 'kept: %: % readings were exported, % are here; export it once more',
            to_char(wanted, 'YYYY-MM'), word.readings, went.readings
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    INSERT INTO ingest.month_dropped (month, series_days, readings, octets, dropped_by, dropped_at)
    VALUES (wanted, went.series_days, went.readings, went.octets, actor, now);
    EXECUTE format(
        'INSERT INTO ingest.batch_dropped (month, batch, readings)'
        ' SELECT %L, u.batch, sum(u.readings) FROM ingest.%I AS d'
        ' JOIN ingest.series AS s ON s.no = d.series AND s.seconds > 0'
        ' CROSS JOIN LATERAL ingest.runs_in(d.body) AS u GROUP BY u.batch', wanted, name);
    CREATE TABLE ingest.day_kept (LIKE ingest.day INCLUDING CONSTRAINTS);
    EXECUTE format(
        'INSERT INTO ingest.day_kept (series, day, body) SELECT d.series, d.day, d.body'
        ' FROM ingest.%I AS d JOIN ingest.series AS s ON s.no = d.series AND s.seconds = 0', name);
    CREATE TRIGGER day_stays BEFORE DELETE OR TRUNCATE ON ingest.day_kept
        FOR EACH STATEMENT EXECUTE FUNCTION ingest.refuse_change();
    CREATE TRIGGER day_dropped BEFORE INSERT ON ingest.day_kept
        FOR EACH ROW EXECUTE FUNCTION ingest.refuse_dropped();
    EXECUTE format('ALTER TABLE ingest.day DETACH PARTITION ingest.%I', name);
    EXECUTE format('DROP TABLE ingest.%I', name);
    EXECUTE format('ALTER TABLE ingest.day_kept RENAME TO %I', name);
    EXECUTE format('ALTER TABLE ingest.day ATTACH PARTITION ingest.%I FOR VALUES FROM (%L) TO (%L)',
        name, wanted, until);
    RETURN went.readings;
END
$$;

GRANT SELECT ON ingest.month_released, ingest.month_dropped, ingest.batch_dropped TO
    meterloop_ingest, meterloop_control, meterloop_signer, meterloop_billing, meterloop_portal;
REVOKE EXECUTE ON FUNCTION ingest.drop_month(date, date, text, timestamptz),
    ingest.reached_day(), ingest.months_kept() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION ingest.drop_month(date, date, text, timestamptz),
    ingest.reached_day(), ingest.months_kept() TO meterloop_ingest;
