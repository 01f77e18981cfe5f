-- insert_companies
-- One row per company, known ones untouched. No locks beyond the rows.
INSERT INTO org.company (id, name)
SELECT * FROM unnest(%(id)s::text[], %(name)s::text[])
ON CONFLICT DO NOTHING;

-- insert_units
-- One row per unit, known ones untouched; parents must stand before their children.
INSERT INTO org.unit (id, company, parent, kind, name, zone)
SELECT * FROM unnest(
    %(id)s::text[], %(company)s::text[], %(parent)s::text[], %(kind)s::text[],
    %(name)s::text[], %(zone)s::text[])
ON CONFLICT DO NOTHING;

-- all_units
-- Every unit, by id.
SELECT u.id, u.company, u.parent, u.kind, u.name, u.zone FROM org.unit AS u ORDER BY u.id;
