"""Pure checks of rows: each by itself (`alone`), and against its neighbours (`beside`)."""
