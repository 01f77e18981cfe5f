"""What was read goes up: rows to batches, batches to the broker until their receipt."""
