"""Modular addition: a task on which a network memorises first and generalises long after."""
