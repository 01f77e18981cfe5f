"""SQL of ingest, one module per subject."""
