"""How soon a search finds what there is, by recorded curves and a simulated clock: `python -m benchmarks.engine`."""
