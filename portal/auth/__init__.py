"""Sign-in, sessions, roles and rights, step-up, and the keys of machines."""
