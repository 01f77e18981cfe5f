-- Registers that the machine estimates say on what they rest, and are withdrawn when one was read:
-- kind 5, of which nothing counts. References: how many values of meters were taken.
ALTER TABLE vee.register_overlay
    ADD COLUMN references_n integer NOT NULL DEFAULT 0,
    ADD COLUMN rests_from timestamptz,
    DROP CONSTRAINT register_overlay_kind_of_layer,
    ADD CONSTRAINT register_overlay_kind_of_layer CHECK (
        CASE layer WHEN 'machine' THEN kind IN (1, 4, 5) ELSE kind IN (2, 3) END);
