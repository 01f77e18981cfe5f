"""
What interface classes are called, for people: `probe` and `dlms decode` say it with one tongue.

*Source*: IEC 62056-6-2, list of interface classes.
"""

CLASS_NAMES = {
    1: "data", 3: "register", 4: "extended register", 5: "demand register", 6: "registers used",
    7: "profile generic", 8: "clock", 9: "script table", 10: "schedule", 11: "special days",
    15: "association", 17: "SAP assignment", 18: "image transfer", 20: "activity calendar",
    21: "register monitor", 22: "single action schedule", 23: "HDLC setup", 40: "push setup",
    41: "TCP-UDP setup", 42: "IPv4 setup", 43: "MAC address setup", 48: "IPv6 setup",
    61: "register table", 62: "compact profile", 63: "status mapping", 64: "security setup",
    65: "parameter monitor", 68: "arbitrator", 70: "disconnect control", 71: "limiter",
    72: "M-Bus client", 111: "account", 112: "credit", 113: "charge", 115: "token gateway",
}  # fmt: skip
