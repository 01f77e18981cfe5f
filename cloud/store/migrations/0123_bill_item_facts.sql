-- A hash of all an item was made of: while the facts are the same, nobody has to make it again.
ALTER TABLE bills.item ADD COLUMN facts bytea;
COMMENT ON COLUMN bills.item.facts IS 'null: it is made anew to be compared, as an estimate is';
