"""How much memory the conversion of a large model takes: at most twice the size of its checkpoint.

Small models take relatively more, for the interpreter and its libraries.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from vlfusion_jax.convert.hugging_face import export_model
from vlfusion_jax.data.tokenizer import train_tokenizer
from vlfusion_jax.models.families import bert
from vlfusion_jax.models.families.given import Given
from vlfusion_jax.models.families.table import hyperparameters
from vlfusion_jax.models.parameters import param_shapes

# The process's own peak, in bytes: what `getrusage` says of a new process begins with its parent's.
CONVERT = """
import sys
from pathlib import Path
from vlfusion_jax.cli.main import main
code = main(["convert", "--from=hf", *sys.argv[1:]])
print([line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")][0])
sys.exit(code)
"""


def save(folder: Path, vocab: int, **changes) -> int:
    """Writes a BERT of random numbers; size of its tensors in bytes."""
    model, sizes = hyperparameters("bert", "tiny", **changes), Given(vocab, 1, 12, (0, 0))
    numbers = np.random.default_rng(0)
    shapes = param_shapes(bert.spec(model, sizes), ())
    params = {path: numbers.standard_normal(shape, np.float32) for path, shape in shapes.items()}
    tensors, config = export_model("bert", model, sizes, "BertModel", params)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    train_tokenizer(["what color is it"], 60).save(str(folder / "tokenizer.json"))
    return sum(tensor.nbytes for tensor in tensors.values())


def peak(folder: Path) -> int:
    """Most bytes that a process which converts the checkpoint has in memory at once."""
    words = [sys.executable, "-c", CONVERT, str(folder), f"--out={folder}_ours"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return 1024 * int(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs Linux's /proc")
def test_conversion_takes_at_most_twice_the_size(tmp_path):
    size = save(tmp_path / "large", 8000, width=1024, mlp_width=4096, layers=20, heads=16)
    assert size > 1e9
    assert peak(tmp_path / "large") <= 2 * size
