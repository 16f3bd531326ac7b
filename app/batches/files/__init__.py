"""Files that clients upload for batches, and the files that batches make."""
