"""Fully sharded data parallel: batch and parameters are split over all devices (ZeRO stage 3)."""


def get_strategy(arg: str = "") -> dict:
    """`fsdp` takes no argument."""
    if arg:
        raise ValueError("fsdp takes no argument")
    return {
        "mesh": {"data": 1, "fsdp": -1, "tensor": 1},
        "rules": {
            "batch": ("data", "fsdp"),
            "sequence": None,
            "residual_sequence": None,
            "embed_activation": None,
            "layers": None,
            "embed": "fsdp",
            "heads": None,
            "head_dim": None,
            "mlp": None,
            "mlp_bias": "fsdp",
            "vocab": None,
            "vocab_bias": "fsdp",
            "answers": None,
            "positions": None,
            "types": None,
            "pixels": None,
            "window": None,
        },
    }
