"""One process of a run of several: one_host.py PROCESS PROCESSES PORT WORKDIR SECONDS_PER_BATCH."""

import sys
import time

import jax
from conftest import ROWS, batches_from, make_run

from vlfusion_jax.train.loop import train

process, processes, port, workdir, seconds = (
    kind(text) for kind, text in zip((int, int, int, str, float), sys.argv[1:], strict=True)
)
jax.config.update("jax_num_cpu_devices", 4 // processes)
if processes > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"127.0.0.1:{port}", processes, process)
run = make_run(4, train__steps=60, train__log_every=1, checkpoint__every=25)
mine = slice(process * ROWS // processes, (process + 1) * ROWS // processes)


def my_rows(start):
    for batch in batches_from(start):
        time.sleep(seconds)
        yield {name: rows[mine] for name, rows in batch.items()}


outcome = train(run, my_rows, workdir)
print("ended", outcome.step, outcome.finished, flush=True)
