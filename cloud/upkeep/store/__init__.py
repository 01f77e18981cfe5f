"""The tables of upkeep, by subject; nobody else's code names them but the signer's."""
