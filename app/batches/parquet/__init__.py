"""Batches that read Parquet files and write Parquet files."""
