"""The second opinion: signs a command only after checks and limits of its own."""
