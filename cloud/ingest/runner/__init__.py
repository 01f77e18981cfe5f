"""
The distributed runner of ingest: MQTT -> bridge -> Apache Kafka -> workers -> receipt.

Readings change hands by receipt alone, so the log between is a wire: what it loses comes again.
"""
