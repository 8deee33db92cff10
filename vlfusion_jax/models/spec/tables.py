"""How many rows the tables of vocabularies and answer sets have."""

from vlfusion_jax.core.arithmetic import round_up

# Vocabularies and answer sets are padded to a multiple of this: it divides over any usual mesh, and fills TPU lanes.
_TABLE_MULTIPLE = 128


def padded_rows(rows: int) -> int:
    """Rows of the table of `rows` words or answers."""
    return round_up(rows, _TABLE_MULTIPLE)
