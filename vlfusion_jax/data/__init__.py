"""From files, or from a seed, to batches: sources, vocabulary, images, masking, negatives, the input pipeline."""
