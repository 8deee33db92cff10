"""Heads, hidden units and vocabularies split over a tensor axis, all else fully sharded over the rest."""


def get_strategy(arg: str = "") -> dict:
    """`fsdp_tp:4` splits tensors over 4 devices; without an argument over 2."""
    return {
        "mesh": {"data": 1, "fsdp": -1, "tensor": int(arg or 2)},
        "rules": {
            "batch": ("data", "fsdp"),
            "sequence": None,
            "residual_sequence": None,
            "embed_activation": None,
            "layers": None,
            "embed": "fsdp",
            "heads": "tensor",
            "head_dim": None,
            "mlp": "tensor",
            "mlp_bias": ("tensor", "fsdp"),
            "vocab": "tensor",
            "vocab_bias": ("tensor", "fsdp"),
            "answers": "tensor",
            "positions": None,
            "types": None,
            "pixels": None,
            "window": None,
        },
    }
