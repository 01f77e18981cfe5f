-- People decide at pages: held use and large amounts of a run, under the portal's own role.
-- Stages stay the billing process's; the one column lets a decision take the run's lock.
GRANT INSERT, UPDATE ON bills.item TO meterloop_portal;
GRANT INSERT ON bills.approval TO meterloop_portal;
GRANT UPDATE (stage_at) ON bills.run TO meterloop_portal;
