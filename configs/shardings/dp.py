"""Data parallel: the batch is split over all devices, every device holds all parameters."""


def get_strategy(arg: str = "") -> dict:
    """`dp` takes no argument."""
    if arg:
        raise ValueError("dp takes no argument")
    return {
        "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
        "rules": {
            "batch": ("data", "fsdp"),
            "sequence": None,
            "residual_sequence": None,
            "embed_activation": None,
            "layers": None,
            "embed": None,
            "heads": None,
            "head_dim": None,
            "mlp": None,
            "mlp_bias": None,
            "vocab": None,
            "vocab_bias": None,
            "answers": None,
            "positions": None,
            "types": None,
            "pixels": None,
            "window": None,
        },
    }
