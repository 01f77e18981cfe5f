"""From a crossed line to a disconnect request; never a command."""
