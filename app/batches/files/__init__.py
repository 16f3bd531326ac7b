"""Files that clients upload for batches, and the output and error files of batches."""
