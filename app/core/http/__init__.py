"""What speaks HTTP for every resource: who is answered, problems, parameters, the description."""
