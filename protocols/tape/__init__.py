"""Recorded sessions with meters: raw octets with times, what is secret in them blanked; pure."""
