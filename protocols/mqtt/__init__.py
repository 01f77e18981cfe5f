"""
The wire between concentrator and cloud: MQTT 5 topics and payloads.

A reading goes up as a `DataBatch` (uplink), its proof of storage comes down as a `Receipt`.
A `Command` comes down signed, its `Ack`s go up. Live values are fanned out beside it.
"""
