"""Who is at this address? Tries every protocol that is spoken here and explains what it meets."""
