"""Options of XLA that differ from its defaults, by platform, each with its reason."""

import jax

Options = dict[str, bool | str]

# By platform.
UPDATES: dict[str, Options] = {
    "cpu": {
        # Without it both of Adam's moments, not one, are copied before they are overwritten: an update of 118 M
        # parameters took 1.5 times as long, and 0.5 GB more.
        "xla_cpu_copy_insertion_use_region_analysis": True,
    },
    "tpu": {
        # Products with a gathered operand are else cut into as many as devices gather it, each far too small for the
        # matrix units: the cycles of a step of ViLT-B/32 under fsdp on v5e:4x4 came to 136 ms, not 52.
        "xla_jf_spmd_threshold_for_windowed_einsum_mib": "1000000",
    },
}
SUMS: dict[str, Options] = {
    "cpu": {
        # The pass splits a large sum into windows, before which all that is summed is written out: memory of the size
        # of the array, and ten times the time.
        "xla_disable_hlo_passes": "tree_reduction_rewriter",
    },
}


def compiler_options(by_platform: dict[str, Options], platform: str = "") -> Options:
    """For the `compiler_options` of `jax.jit`.

    Args:
      by_platform: `UPDATES` for programs that update parameters, `SUMS` for sums over whole arrays.
      platform: of the devices that the program is for; default those of this process.
    """
    return by_platform.get(platform or jax.default_backend(), {})
