"""RoBERTa (Liu et al. 2019, "RoBERTa: A Robustly Optimized BERT Pretraining Approach"): BERT, positions from 2 on."""

from functools import partial

from vlfusion_jax.models.families import bert

SIZES = {
    "base": bert.SIZES["base"]
    | {
        "norm_epsilon": 1e-5,
        "text_positions": 514,
        "position_offset": 2,  # rows 0 and 1 are of padding
        "token_types": 1,
    },
    "tiny": bert.SIZES["tiny"],
}

spec = partial(bert.spec, word_activation="gelu")
tower = bert.tower
