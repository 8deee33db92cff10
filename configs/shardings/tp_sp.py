"""As fsdp_tp, and between the parts so split, tokens over the same axis (Korthikanti et al. 2022, section 4.2.2)."""


def get_strategy(arg: str = "") -> dict:
    """`tp_sp:4` splits tensors and tokens over 4 devices; without an argument over 2."""
    return {
        "mesh": {"data": 1, "fsdp": -1, "tensor": int(arg or 2)},
        "rules": {
            "batch": ("data", "fsdp"),
            "sequence": None,
            "residual_sequence": "tensor",
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
