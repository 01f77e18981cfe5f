"""
Modbus as facts: register maps of meter models, what to ask together, what the words mean.

No I/O: the edge moves frames with pymodbus, the simulator with `pdu`.
*Source*: Modbus Application Protocol V1.1b3; Modbus Messaging on TCP/IP V1.0b.
"""
