"""What is happening now: MQTT in, one SSE stream per browser out."""
