"""Judges that read no answer: reward models and classifiers, hosted here or by `vllm serve`."""
