"""The front door: command line, embedded servers, supervisor, audit, doctor."""
