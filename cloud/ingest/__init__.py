"""From MQTT payload to raw rows: batch, quarantine or rows, commit, receipt."""
