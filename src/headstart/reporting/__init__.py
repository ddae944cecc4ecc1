"""What a person reads of a run: tables in a terminal, the predictions table and the report page."""
