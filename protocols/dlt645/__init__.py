"""
DL/T 645-2007, the protocol of Chinese meters: octets to values and back, for client and meter.

Frames, data items, relay orders, records and tokens; pure and total. What is taken from the 2013
supplement of State Grid (relay command bit, keep-power bit, joint date and time) says so.
"""
