"""ViLT of `transformers` beside ours: the same weights, inputs and loss, measured in turns on the same cores."""

import os
import tempfile
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vlfusion_jax.convert.hugging_face import import_model
from vlfusion_jax.convert.source import open_checkpoint
from vlfusion_jax.core import names
from vlfusion_jax.core.compiler import UPDATES, compiler_options
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.tree import nested
from vlfusion_jax.models.flops import part_flops
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.ops.losses import sparse_binary_cross_entropy
from vlfusion_jax.plan.timing import Timing, interleave

TOKENS, ANSWERS, RATE, DECAY = 40, 3129, 1e-4, 0.01
GIVEN = 3  # answers with a score that a question has
_STEP = 3  # FLOPs of a training step, in those of its forward pass


class Comparison(NamedTuple):
    """Times by program: `ours`, `eager`, and `compiled` where asked for; and the FLOPs of a call."""

    forward: dict[str, Timing]
    train: dict[str, Timing]
    forward_flops: float

    def __str__(self) -> str:
        """A table of the forward pass and one of the training step."""
        forward = _table("forward pass", self.forward, self.forward_flops)
        return "\n".join(forward + _table("training step", self.train, _STEP * self.forward_flops))


def _table(name: str, times: dict[str, Timing], flops: float) -> list[str]:
    lines = ["", f"{name:<16}{'median s':>10}{'quartiles':>18}{'GFLOP/s':>10}{'ours is faster by':>20}"]
    ours = times["ours"].median
    for program, time in times.items():
        quartiles = f"{time.low:.3f} - {time.high:.3f}"
        lines.append(
            f"{program:<16}{time.median:>10.3f}{quartiles:>18}{flops / time.median / 1e9:>10.0f}"
            f"{f'{time.median / ours:.2f} x':>20}"
        )
    return lines


def compare_vilt(batch: int, size: int, layers: int, rounds: int, compiled: bool) -> Comparison:
    """Forward pass and training step (AdamW on the VQA loss) of ViLT-B/32 in f32.

    Args:
      batch: image and question pairs.
      size: height and width of the images, in pixels.
      layers: of the model; 12 = ViLT-B/32.
      rounds: counted calls of each program.
      compiled: also measure `torch.compile`.

    Raises:
      UserError: torch or transformers is not installed.
    """
    try:
        import torch
        import transformers
    except ImportError as error:
        raise UserError("--against=torch needs torch and transformers: pip install 'vlfusion_jax[test]'") from error

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.manual_seed(0)
    config = transformers.ViltConfig(num_labels=ANSWERS, num_hidden_layers=layers)
    theirs = transformers.ViltForQuestionAnswering(config).eval()
    with tempfile.TemporaryDirectory() as folder:
        theirs.save_pretrained(folder)
        imported = import_model(open_checkpoint(folder))
    rng = np.random.default_rng(0)
    pixels = rng.integers(256, size=(batch, size, size, 3), dtype=np.uint8)
    ids = rng.integers(1000, 20_000, (batch, TOKENS)).astype(np.int32)
    answers = rng.permuted(np.tile(np.arange(ANSWERS, dtype=np.int32), (batch, 1)), axis=1)[:, :GIVEN]
    scores = rng.random(answers.shape, np.float32)
    targets = np.zeros((batch, ANSWERS), np.float32)
    np.put_along_axis(targets, answers, scores, axis=1)
    inputs = {
        names.IMAGE: pixels,
        names.IMAGE_MASK: np.ones((batch, size, size), np.uint8),
        names.TEXT: ids,
        names.TEXT_MASK: np.ones_like(ids),
    }
    their_inputs = {
        "input_ids": torch.tensor(ids).long(),
        "attention_mask": torch.ones(ids.shape, dtype=torch.long),
        "pixel_values": torch.tensor(pixels.transpose(0, 3, 1, 2) / 127.5 - 1).float(),
        "pixel_mask": torch.ones((batch, size, size), dtype=torch.long),
    }

    ours_forward, ours_train = _ours(FusionModel(imported.spec), nested(imported.params), inputs, answers, scores)
    forward = {"ours": ours_forward, "eager": _their_forward(torch, theirs, their_inputs)}
    train = {"ours": ours_train, "eager": _their_training(torch, theirs, their_inputs, torch.tensor(targets))}
    if compiled:
        fast = torch.compile(theirs)
        forward["compiled"] = _their_forward(torch, fast, their_inputs)
        train["compiled"] = _their_training(torch, fast, their_inputs, torch.tensor(targets))
    flops = batch * sum(part_flops(imported.spec, TOKENS, (names.VQA,)).values())
    return Comparison(interleave(forward, rounds), interleave(train, rounds), flops)


def _ours(
    model: FusionModel, params: Any, inputs: dict[str, np.ndarray], answers: np.ndarray, scores: np.ndarray
) -> tuple[Callable[[], None], Callable[[], None]]:
    batch = jax.device_put((inputs, answers, scores))
    optimizer = optax.adamw(RATE, weight_decay=DECAY)
    params = jax.device_put(params)
    state = [params, optimizer.init(params)]

    def logits_of(params: Any, inputs: dict[str, jax.Array]) -> jax.Array:
        return model.apply({"params": params}, inputs, (names.VQA,)).logits[names.VQA]

    def loss_of(params: Any, inputs: dict[str, jax.Array], answers: jax.Array, scores: jax.Array) -> jax.Array:
        logits = logits_of(params, inputs)
        valid = jnp.arange(logits.shape[1]) < ANSWERS
        return sparse_binary_cross_entropy(logits, answers, scores, valid).mean()

    def update(params: Any, opt_state: Any, batch: tuple) -> tuple[Any, Any]:
        updates, opt_state = optimizer.update(jax.grad(loss_of)(params, *batch), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    forward = jax.jit(logits_of)
    step = jax.jit(update, donate_argnums=(0, 1), compiler_options=compiler_options(UPDATES))

    def run_forward() -> None:
        jax.block_until_ready(forward(state[0], batch[0]))

    def run_step() -> None:
        state[:] = jax.block_until_ready(step(*state, batch))

    return run_forward, run_step


def _their_forward(torch: Any, model: Any, inputs: dict[str, Any]) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            model(**inputs)

    return run


def _their_training(torch: Any, model: Any, inputs: dict[str, Any], labels: Any) -> Callable[[], None]:
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=DECAY)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(**inputs, labels=labels).loss.backward()
        optimizer.step()

    return run
