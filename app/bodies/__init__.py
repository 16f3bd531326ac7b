"""The JSON of every answer, as types that the service and its clients share; they import nothing."""
