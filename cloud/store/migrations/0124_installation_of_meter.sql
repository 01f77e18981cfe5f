-- The installations of one meter by a plain index: the exclusion over time finds them too, but takes
-- seventy times as long (0.14 ms a meter at a million), and books of a concentrator ask it of each.
CREATE INDEX installation_of_meter ON assets.installation (meter, installed_at);
