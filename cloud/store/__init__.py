"""The database rim: pool and transactions, named SQL, clock, migrations, audit log."""
