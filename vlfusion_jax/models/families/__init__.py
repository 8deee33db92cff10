"""The model families: one file each, a function from hyperparameters to a `ModelSpec`, and its named sizes."""
