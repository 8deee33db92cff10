"""vlfusion bench --config=FILE.py[:ARG] --strategies=dp,fsdp,… [--devices=8] [--plan=plan.json] [--config.KEY=VALUE …]
vlfusion bench --against=torch [--batch=8] [--image=384] [--layers=12] [--rounds=7] [--compiled]

With a config: compiles the run's training step for the devices that are here, once for each strategy, times them in
turns on random input, and prints medians and quartiles beside what was predicted. OUT gets bench.json and bench.png.
Against torch: times ViLT-B/32 and the model of transformers, both in f32 on the CPU's cores, same weights and inputs.
"""

import json
from dataclasses import asdict
from pathlib import Path

import jax
from absl import flags
from ml_collections import ConfigDict

from vlfusion_jax.cli.arguments import define_config_flag, no_more_words, parse, parse_over_config
from vlfusion_jax.cli.candidates import candidates, config_without_data, define_candidate_flags
from vlfusion_jax.cli.devices import define_device_flags, start_devices
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.plan.against_torch import compare_vilt
from vlfusion_jax.plan.measure import HERE, compile_here, measure
from vlfusion_jax.plan.measured_table import MeasuredRow, draw_measured, format_measured, to_json
from vlfusion_jax.plan.prediction import planned, predict, read_plan
from vlfusion_jax.plan.probes import Machine
from vlfusion_jax.plan.profile import format_operations, profile

REFERENCES = ("torch",)
# Flags that one of the two measurements alone reads.
_OF_TORCH = {"batch", "image", "layers", "compiled"}
_OF_CONFIG = {"strategies", "remat", "batch_per_device", "answers", "plan", "profile", "devices", "out"}


def define_flags(values: flags.FlagValues) -> None:
    """Add the flags of this subcommand."""
    define_config_flag(values)
    define_candidate_flags(values)
    flags.DEFINE_string("plan", "", "plan.json to compare with; default: the programs that run", flag_values=values)
    flags.DEFINE_boolean("profile", False, "trace the first candidate; its ten heaviest operations", flag_values=values)
    flags.DEFINE_string("out", "runs/bench", "where bench.json, bench.png and traces go", flag_values=values)
    define_device_flags(values)
    flags.DEFINE_string("against", "", "what to measure ViLT against: torch", flag_values=values)
    flags.DEFINE_integer("batch", 8, "pairs of image and question", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("image", 384, "height and width of the images, in pixels", lower_bound=32, flag_values=values)
    flags.DEFINE_integer("layers", 12, "layers of the model", lower_bound=1, flag_values=values)
    flags.DEFINE_integer("rounds", 7, "counted calls of each program", lower_bound=1, flag_values=values)
    flags.DEFINE_boolean("compiled", False, "also measure torch.compile", flag_values=values)


def run(values: flags.FlagValues, arguments: list[str]) -> None:
    """Measure and print tables."""
    given = {word.lstrip("-").partition("=")[0] for word in arguments}
    if {"against", "config"} <= given:
        raise UserError("--against measures ViLT-B/32, --config the model of a run: give one of them.")
    if "against" in given:
        _refuse(given & _OF_CONFIG, "--config")
        no_more_words(parse(values, arguments))
        _against(values)
    elif "config" in given:
        _refuse(given & _OF_TORCH, "--against=torch")
        _candidates(values, parse_over_config(values, arguments, lambda: config_without_data(values.config)))
    else:
        no_more_words(parse(values, arguments))
        raise UserError("what is to be measured? --config=FILE.py for a run, or --against=torch.")


def _refuse(given: set[str], mode: str) -> None:
    if given:
        raise UserError(f"--{min(given)} belongs to {mode}; it has no effect here.")


def _against(values: flags.FlagValues) -> None:
    if values.against not in REFERENCES:
        raise UserError(f"--against is {values.against!r}; it must be one of {', '.join(REFERENCES)}.")
    jax.config.update("jax_platforms", "cpu")  # where torch computes
    found = compare_vilt(values.batch, values.image, values.layers, values.rounds, values.compiled)
    print(f"ViLT, patches of 32, {values.layers} layers, {values.batch} images of {values.image} pixels, f32")
    print(found)


def _candidates(values: flags.FlagValues, config: ConfigDict) -> None:
    plan = read_plan(values.plan) if values.plan else None
    start_devices(values)
    ready, problems = compile_here(config, candidates(values, HERE))
    found, more, machine = measure(ready, values.rounds)
    problems |= more
    ran = [each for each in ready if each.candidate.label in found]
    rows = [
        MeasuredRow(
            each.candidate.label,
            found[each.candidate.label],
            predict(each, machine) if plan is None else planned(each, plan),
            each.compile_seconds,
        )
        for each in ran
    ]
    rows.sort(key=lambda row: -row.measured.examples_per_second)
    if jax.process_index() == 0:
        print(f"{config.name} on {jax.device_count()} x {jax.devices()[0].device_kind}, {config.precision.compute}")
        print(format_measured(rows, problems))
        if machine:
            print(machine)
        _write(Path(values.out), rows, problems, machine)
    if not rows:
        raise UserError("no candidate ran.")
    if values.profile:
        operations = profile(ran[0], Path(values.out) / "trace")
        if jax.process_index() == 0:
            print(f"{ran[0].candidate.label}, an update:\n{format_operations(operations)}")


def _write(out: Path, rows: list[MeasuredRow], problems: dict[str, str], machine: Machine | None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    where = {"device": jax.devices()[0].device_kind, "devices": jax.device_count(), "jax": jax.__version__}
    where |= {"rates": asdict(machine)} if machine else {}
    (out / "bench.json").write_text(json.dumps(to_json(rows, problems, where), indent=2), encoding="utf-8")
    (out / "bench.png").unlink(missing_ok=True)  # of an earlier measurement
    if rows:
        draw_measured(rows).savefig(out / "bench.png", dpi=120)
    print(f"written to {out}")
