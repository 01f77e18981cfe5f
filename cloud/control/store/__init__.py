"""The SQL of control: one typed function per block, on the caller's connection."""
