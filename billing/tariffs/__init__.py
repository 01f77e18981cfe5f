"""Versioned prices: validated files whose identity is the hash of their canonical form."""
