"""Use cases of reading cycles: `planning`, `entering`, `delivering`, `closing`, `reports`."""
