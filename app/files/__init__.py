"""Files of requests, as OpenAI clients upload them for a batch."""
