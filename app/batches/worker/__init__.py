"""Workers: they claim shards of batches, judge them and store the scores."""
