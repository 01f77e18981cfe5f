"""The concentrator's agent: poll, keep, forward, obey."""
