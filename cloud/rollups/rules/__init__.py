"""Pure rules of roll-ups: `days` from slots and registers, `periods` from days, `hours` by name."""
