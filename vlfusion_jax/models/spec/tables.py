"""How many rows the tables of vocabularies and answer sets have."""

from vlfusion_jax.core.arithmetic import round_up

# Vocabularies and answer sets are padded to a multiple of this: it divides over any usual mesh, and fills TPU lanes.
_MULTIPLE = 128
# Large ones to a multiple that hundreds of devices divide.
_LARGE, _LARGE_MULTIPLE = 2**14, 512


def padded_rows(rows: int) -> int:
    """Rows of the table of `rows` words or answers."""
    return round_up(rows, _MULTIPLE if rows < _LARGE else _LARGE_MULTIPLE)
