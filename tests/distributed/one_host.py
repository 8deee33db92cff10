"""One process of a run: one_host.py DATA OUT DEVICES [PORT PROCESS]; without these two it asks the environment.

Writes to OUT what it trained: the losses of every step, and of every batch the rows that its devices got.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np

from vlfusion_jax.config.load import load_config
from vlfusion_jax.data.global_array import to_global
from vlfusion_jax.data.pipeline import train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.parallel.distributed import initialize
from vlfusion_jax.train.setup import build

STEPS = 6

data, out = sys.argv[1], Path(sys.argv[2])
jax.config.update("jax_num_cpu_devices", int(sys.argv[3]))
flags = sys.argv[4:]
said = initialize(f"127.0.0.1:{flags[0]}", 2, int(flags[1])) if flags else initialize()

config = load_config("configs/tiny.py")
config.data.path, config.sharding, config.train.steps, config.model.layers = data, "fsdp", STEPS, 1
config.tasks.mlm.weight, config.tasks.itm.weight = 0.0, 0.5
source = open_source(config.data, "train")
run = build(config, build_vocabulary([source], config.data))
batches = train_batches(config, source, run.vocabulary, host=jax.process_index(), num_hosts=jax.process_count())
state, lines, rows = run.init_state(), [], {}
for step in range(STEPS):
    batch = to_global(next(batches), run.batch_sharding)
    for name, array in batch.items():
        shards = sorted(array.addressable_shards, key=lambda shard: shard.index[0].start or 0)
        rows[f"{step}/{name}/{shards[0].index[0].start or 0}"] = np.concatenate([shard.data for shard in shards])
    state, metrics = run.train_step(state, batch)
    lines.append({name: float(value) for name, value in metrics.items()})
batches.close()
assert not state.params["words"]["table"].sharding.is_fully_replicated
out.mkdir()
np.savez(out / "rows.npz", **{key.replace("/", "|"): value for key, value in rows.items()})
(out / "result.json").write_text(
    json.dumps({"said": said, "process": jax.process_index(), "devices": jax.device_count(), "metrics": lines})
)
