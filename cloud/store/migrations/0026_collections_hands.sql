-- A person at a screen gives a notice by hand (I6): the portal moves a case as billing does.
GRANT INSERT ON collections.transition TO meterloop_portal;
GRANT UPDATE ON collections.dunning_case TO meterloop_portal;
