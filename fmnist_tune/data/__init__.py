"""The data set: found or fetched, verified, split."""
