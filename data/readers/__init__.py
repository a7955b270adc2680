"""From files in somebody else's layout to records: one reader a file."""
