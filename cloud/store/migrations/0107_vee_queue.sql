-- Findings of the checks stand in the one queue beside gaps and silence: one row per usage point,
-- kind and civil day, opened again when the same thing is found again.
ALTER TABLE vee.exception
    ADD COLUMN severity text NOT NULL DEFAULT 'error',
    ADD COLUMN day date,
    ADD COLUMN places integer NOT NULL DEFAULT 1,
    ADD COLUMN value bigint,
    ADD COLUMN allowed bigint,
    ADD COLUMN unit text NOT NULL DEFAULT '',
    ADD COLUMN rule_set text NOT NULL DEFAULT '',
    ADD COLUMN parameters jsonb NOT NULL DEFAULT '{}',
    ADD COLUMN assigned_to text,
    ADD COLUMN assigned_at timestamptz,
    ADD COLUMN closed_by text,
    ADD COLUMN close_reason text NOT NULL DEFAULT '',
    ADD COLUMN reopened integer NOT NULL DEFAULT 0,
    DROP CONSTRAINT exception_kind_known,
    ADD CONSTRAINT exception_kind_known CHECK (
        CASE WHEN day IS NULL THEN kind IN ('gap', 'silent', 'missing_registers')
        ELSE kind IN ('spike_daily', 'spike_robust', 'sum_check', 'tou_sum', 'high_low',
            'delta_percent', 'historical_max', 'demand_step', 'zero_run', 'stale_run', 'negative',
            'future', 'duplicate', 'interval_size', 'unit', 'multiplier', 'device_inactive',
            'sibling_missing', 'estimated_too_long', 'capacity', 'reactive_without_active',
            'device_flags', 'clock_tolerance', 'replacement', 'register_step', 'billing_gate',
            'not_estimated') END),
    ADD CONSTRAINT exception_severity_known CHECK (severity IN ('warning', 'error', 'blocking'));

DROP INDEX vee.exception_meter_open;
CREATE UNIQUE INDEX exception_meter_open
    ON vee.exception (kind, meter)
    WHERE closed_at IS NULL AND kind IN ('silent', 'missing_registers');
CREATE UNIQUE INDEX exception_day_once
    ON vee.exception (usage_point, day, kind) WHERE day IS NOT NULL;
CREATE INDEX exception_queue ON vee.exception (opened_at) WHERE closed_at IS NULL;

GRANT UPDATE ON vee.exception TO meterloop_portal;
