"""People: pages, live stream and API. No rule lives here; each change is one service call."""
