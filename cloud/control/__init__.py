"""The hand on the switch: request, approvals, hold, gate, issue, handshake, outcome."""
