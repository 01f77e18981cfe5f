"""Use cases of billing, each a module: the run, its review, its documents, corrections, replay."""
