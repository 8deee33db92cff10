"""Mean and deviation of the pixels' channels, in [0, 1], that published models were trained with."""

from vlfusion_jax.layers import convnet

# From -1 to 1, as ViT and ViLT have it.
SYMMETRIC = {"pixel_mean": (0.5, 0.5, 0.5), "pixel_std": (0.5, 0.5, 0.5)}
# Of the pictures that CLIP was trained on (Radford et al. 2021, their code).
CLIP = {
    "pixel_mean": (0.48145466, 0.4578275, 0.40821073),
    "pixel_std": (0.26862954, 0.26130258, 0.27577711),
}
IMAGENET = {f"pixel_{key}": value for key, value in convnet.IMAGENET.items()}
