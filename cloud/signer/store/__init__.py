"""What the signer reads of others' rows, its own memory, and the columns it may write."""
