"""What routing costs: the index, the chain of hashes, the intake of events, the choice of a worker."""
