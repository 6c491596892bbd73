"""What fmnist-tune is compared with: the scripts that people write by hand; see `benchmarks.peers.compare`."""
