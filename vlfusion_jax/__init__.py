"""Vision-language fusion Transformers in JAX."""
