"""What every feature needs: settings, database, errors, keys, tasks, logs."""
