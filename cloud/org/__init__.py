"""Who runs the network: companies, branches, offices, sections."""
