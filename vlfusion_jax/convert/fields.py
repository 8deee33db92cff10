"""Hyperparameters under our names and under those of another library's `config.json`."""

from typing import Any

from vlfusion_jax.core.errors import UserError

# Activations under their names; those not listed have the same name or are not known here.
_ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "swish": "silu"}
_KNOWN_ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "relu", "silu", "tanh")
_THEIR_ACTIVATIONS = {"gelu_tanh": "gelu_pytorch_tanh"}


# What configurations in BERT's manner call the parts of a Transformer.
TRANSFORMER = {
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
    "activation": "hidden_act",
    "norm_epsilon": "layer_norm_eps",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}


class Fields:
    """{our name: their name} of what both have, values alike.

    Args:
      names: their names by ours; of the form `section.name` for one in a section.
    """

    def __init__(self, **names: str):
        self._names = names

    def ours(self, config: dict[str, Any]) -> dict[str, Any]:
        """Our hyperparameters, as far as `config` gives them."""
        found = {}
        for our_name, their_name in self._names.items():
            section, value = config, None
            *sections, last = their_name.split(".")
            for each in sections:
                section = section.get(each) or {}
            value = section.get(last)
            if value is not None:
                found[our_name] = _our_value(our_name, their_name, value)
        return found

    def theirs(self, model: Any) -> dict[str, Any]:
        """Their configuration, as far as our hyperparameters give it."""
        config: dict[str, Any] = {}
        for our_name, their_name in self._names.items():
            section = config
            *sections, last = their_name.split(".")
            for each in sections:
                section = section.setdefault(each, {})
            value = model[our_name]
            section[last] = _THEIR_ACTIVATIONS.get(value, value) if our_name.endswith("activation") else value
        return config


def _our_value(our_name: str, their_name: str, value: Any) -> Any:
    if our_name.endswith("activation"):
        activation = _ACTIVATIONS.get(value, value)
        if activation not in _KNOWN_ACTIVATIONS:
            raise UserError(f"config.json: {their_name} is {value!r}; known are {', '.join(_KNOWN_ACTIVATIONS)}.")
        return activation
    is_rate = our_name.endswith(("dropout", "epsilon"))
    return float(value) if is_rate else value


def pooler_of(keys: set[str], read: Any, architecture: str) -> dict[str, Any]:
    """Whether a tower has a pooler: it may be saved without, and as a part of a class with a head it has none."""
    del read, architecture
    return {"pooler": "pooler.dense.weight" in keys}


def require(config: dict[str, Any], required: dict[str, Any], where: str) -> None:
    """Raise UserError unless `config` has the values of `required`, or does not mention them."""
    for name, value in required.items():
        if config.get(name, value) != value:
            raise UserError(f"{where}: config.json has {name}={config[name]!r}; only {value!r} is known here.")
