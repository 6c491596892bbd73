"""The report of a study: numbers first, figures from them, then a page."""
