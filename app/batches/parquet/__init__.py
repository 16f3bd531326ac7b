"""Batches whose pairs and verdicts stay in Parquet files."""
