"""Data parallel with the optimizer's state split over all devices (ZeRO stage 1, Rajbhandari et al. 2020, sec. 5.1)."""


def get_strategy(arg: str = "") -> dict:
    """`zero1` takes no argument."""
    if arg:
        raise ValueError("zero1 takes no argument")
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
        "optimizer": {"embed": "data", "mlp_bias": "data", "vocab_bias": "data"},
    }
