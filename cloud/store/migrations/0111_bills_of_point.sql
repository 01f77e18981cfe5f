-- A late reading asks which bills, and which charges not billed yet, had used a day of its point.
CREATE INDEX bill_usage_point ON bills.bill (usage_point, period_end);
CREATE INDEX item_unbilled ON bills.item (usage_point, period_end) WHERE bill IS NULL;
