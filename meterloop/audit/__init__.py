"""The invariants of an installation, counted: from the database, and against a truth file."""
