"""PostgreSQL and the MQTT broker as private servers of one installation: no Docker, no root."""
