"""What is said of a study, and its renderers for a terminal, Markdown and HTML."""
