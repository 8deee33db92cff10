"""Where a checkpoint to convert lies: a folder, a file, or a model in the user's Hugging Face cache."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_object import read_json_object

PROCESSOR = "preprocessor_config.json"
SAFETENSORS, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLES = ("pytorch_model.bin", "model.pt", "model.pth")
_WEIGHTS = (SAFETENSORS, INDEX, *PICKLES)
_PICKLE_ENDINGS = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's tensors, read one at a time, and what lies beside them.

    Attributes:
      where: what it was asked for as, for messages.
      folder: of the weights' file, with configuration and tokenizer where there are any.
      keys: of all tensors.
      read: the array of a key; floating-point ones as float32.
      config: content of `config.json`; empty where there is none.
      processor: of `preprocessor_config.json`, or the part of `processor_config.json` about images; empty likewise.
    """

    where: str
    folder: Path
    keys: tuple[str, ...]
    read: Callable[[str], np.ndarray]
    config: dict[str, Any]
    processor: dict[str, Any] = field(default_factory=dict)


def open_checkpoint(source: str) -> Checkpoint:
    """The checkpoint that `source` names: a folder, a weights file, or a model such as `dandelin/vilt-b32-mlm`.

    Raises:
      UserError: it is not there, cannot be read, is cut short, or is a pickle that holds more than tensors.
    """
    path = Path(source).expanduser()
    if not path.exists():
        path = _cached(source)
    folder, file = (path, _weights_file(path)) if path.is_dir() else (path.parent, path)
    if file.name.endswith(".json"):
        keys, read = _shards(file)
    elif file.suffix in _PICKLE_ENDINGS:
        keys, read = _pickle(file)
    else:
        keys, read = _safetensors(file)
    # What TensorFlow calls the parameters of a layer norm, in checkpoints that come from there, such as BERT's.
    names = {key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): key
             for key in keys}  # fmt: skip
    config = read_json_object(folder / "config.json")
    return Checkpoint(source, folder, tuple(names), lambda key: read(names[key]), config, _processor(folder))


def _cached(name: str) -> Path:
    """Snapshot of a model in the Hugging Face cache (its layout: huggingface.co/docs/huggingface_hub).

    That of its main branch; where there is none with weights, the newest one that has some, or else the newest.
    """
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    model = cache / f"models--{name.replace('/', '--')}"
    main = model / "refs" / "main"
    named = main.read_text(encoding="utf-8").strip() if main.is_file() else ""

    def order(snapshot: Path) -> tuple[bool, bool, float]:
        return _has_weights(snapshot), snapshot.name == named, snapshot.stat().st_mtime

    snapshots = sorted((path for path in model.glob("snapshots/*") if path.is_dir()), key=order)
    if not snapshots:
        raise UserError(
            f"{name}: no such file or folder, and no model of that name in {cache}. Give the folder of a checkpoint, "
            f"or fetch it first: hf download {name}"
        )
    return snapshots[-1]


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _WEIGHTS)


def _weights_file(folder: Path) -> Path:
    for name in _WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise UserError(f"{folder} holds no weights; expected one of {', '.join(_WEIGHTS)}.")


def _processor(folder: Path) -> dict[str, Any]:
    if found := read_json_object(folder / PROCESSOR):
        return found
    of_images = read_json_object(folder / "processor_config.json").get("image_processor")
    return of_images if isinstance(of_images, dict) else {}


def _safetensors(file: Path) -> tuple[tuple[str, ...], Callable[[str], np.ndarray]]:
    try:
        with safe_open(file, framework="flax") as opened:
            keys = tuple(opened.keys())
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is no whole safetensors file ({error}); fetch it again.") from error

    def read(key: str) -> np.ndarray:
        # Opened anew for each tensor: what is mapped of a file stays in memory until it is closed.
        with safe_open(file, framework="flax") as opened:
            return _as_float32(np.asarray(opened.get_tensor(key)))

    return keys, read


def _shards(index: Path) -> tuple[tuple[str, ...], Callable[[str], np.ndarray]]:
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{index} is no index of safetensors files; fetch it again.") from error
    files = {}
    for name in sorted(set(places.values())):
        if not (index.parent / name).is_file():
            raise UserError(f"{index} names {name}, which is not there; fetch the checkpoint again.")
        files[name] = _safetensors(index.parent / name)[1]
    return tuple(places), lambda key: files[places[key]](key)


def _pickle(file: Path) -> tuple[tuple[str, ...], Callable[[str], np.ndarray]]:
    try:
        import torch
    except ImportError as error:
        raise UserError(f"{file} is a PyTorch pickle, which takes torch to read: pip install torch") from error
    try:
        # Before PyTorch 1.6 a checkpoint was no archive, and cannot be mapped.
        mapped = zipfile.is_zipfile(file)
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"{file} is not read: a pickle may hold tensors only, and this one is damaged or holds more, which could "
            f"run as code ({str(error).strip().splitlines()[0][:200]}). Get the checkpoint as safetensors."
        ) from error
    while isinstance(content, dict) and len(content) and not any(hasattr(v, "numpy") for v in content.values()):
        nested = [content[name] for name in ("state_dict", "model", "module") if name in content]
        if not nested:
            raise UserError(f"{file} holds no tensors; it has {', '.join(map(str, list(content)[:5]))}.")
        content = nested[0]
    tensors = {name.removeprefix("module."): value for name, value in content.items() if hasattr(value, "numpy")}
    return tuple(tensors), lambda key: tensors[key].detach().float().numpy()


def _as_float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32, copy=False) if array.dtype.kind in "fV" else array
