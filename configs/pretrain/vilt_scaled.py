"""ViLT of a billion and of ten billion parameters, pretrained like `vilt_b32.py`: shapes to plan machines for.

Commands: vlfusion plan --config=configs/pretrain/vilt_scaled.py:1b --topology=v5e:16x16 --batch_per_device=8
          vlfusion plan --config=configs/pretrain/vilt_scaled.py:10b --topology=v5p:8x8x8 --batch_per_device=8

Width and depth are chosen for the number of parameters; nobody has trained these models here.
"""

from vlfusion_jax.config.load import load_config

# Width, heads, layers: 12 · width² · layers parameters, and the tables.
_SIZES = {"1b": (1536, 24, 34), "10b": (4096, 32, 49)}


def get_config(arg: str = ""):
    """The run; `arg` is `1b`, the default, or `10b`."""
    arg = arg or "1b"
    if arg not in _SIZES:
        raise ValueError(f"arg={arg!r}: choose one of {', '.join(_SIZES)}")
    config = load_config("configs/pretrain/vilt_b32.py")
    config.name = f"vilt_{arg}"
    config.model.width, config.model.heads, config.model.layers = _SIZES[arg]
    config.model.mlp_width = 4 * config.model.width
    return config
