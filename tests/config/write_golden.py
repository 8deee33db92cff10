"""Golden texts of the shipped configs.

After a wanted change: `python -m tests.config.write_golden` at the top of the repository, and review the diff.
"""

from pathlib import Path

from vlfusion_jax.config.dump import dump_text
from vlfusion_jax.config.load import load_config, shipped_configs

FOLDER = Path(__file__).with_name("golden")
WITH_ARGUMENT = ("configs/tiny.py:two_stream", "configs/tiny.py:cross_attention")


def golden_texts() -> dict[str, str]:
    """File name -> text of every shipped config, resolved."""
    return {
        Path(text).name.replace(".py", "").replace(":", "_") + ".txt": dump_text(load_config(text))
        for text in (*shipped_configs(), *WITH_ARGUMENT)
    }


if __name__ == "__main__":
    for name, content in golden_texts().items():
        (FOLDER / name).write_text(content)
