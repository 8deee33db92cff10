"""One process of a run: one_host.py DATA OUT DEVICES [PORT PROCESS]; without these two it asks the environment.

Writes to OUT, for each strategy and batch, the rows that the devices of this process got.
"""

import itertools
import json
import sys
from contextlib import closing
from pathlib import Path

import jax
import numpy as np

from vlfusion_jax.config.load import load_config
from vlfusion_jax.data.global_array import local_rows, to_global
from vlfusion_jax.data.pipeline import train_batches
from vlfusion_jax.data.source import open_source
from vlfusion_jax.data.vocabulary import build_vocabulary
from vlfusion_jax.parallel.distributed import initialize
from vlfusion_jax.parallel.loading import load_strategy

data, out = sys.argv[1], Path(sys.argv[2])
jax.config.update("jax_num_cpu_devices", int(sys.argv[3]))
flags = sys.argv[4:]
said = initialize(f"127.0.0.1:{flags[0]}", 2, int(flags[1])) if flags else initialize()

config = load_config("configs/tiny.py")
config.data.path = data
source = open_source(config.data, "train")
vocabulary = build_vocabulary([source], config.data)
rows = {}
for strategy in ("fsdp", "fsdp_tp:2"):
    sharding = load_strategy(strategy).batch_sharding
    own = local_rows(sharding, config.train.batch_size)
    with closing(train_batches(config, source, vocabulary, rows=own)) as batches:
        for step, batch in enumerate(itertools.islice(batches, 3)):
            for name, array in to_global(batch, sharding).items():
                shards = {shard.index[0].start or 0: shard.data for shard in array.addressable_shards}
                held = np.concatenate([shards[start] for start in sorted(shards)])
                rows[f"{strategy}|{step}|{name}|{min(shards)}|{len(array)}"] = held
out.mkdir()
np.savez(out / "rows.npz", **{key.replace("/", "\\"): value for key, value in rows.items()})
(out / "result.json").write_text(
    json.dumps({"said": said, "process": jax.process_index(), "devices": jax.device_count()})
)
