"""SQL of validation."""
