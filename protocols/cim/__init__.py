"""Messages of meter readings between systems: IEC 61968-9, as XML and as its JSON twin."""
