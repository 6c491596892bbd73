"""Studies: what has been tried and what came of it, in SQLite; the only truth there is."""
