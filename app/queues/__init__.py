"""Label queues: pairs handed out blind to people, and their answers, which become labels."""
