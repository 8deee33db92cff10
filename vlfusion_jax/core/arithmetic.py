"""Integer arithmetic on sizes."""


def round_up(size: int, multiple: int) -> int:
    """The smallest multiple of `multiple` that is at least `size`."""
    return -(-size // multiple) * multiple


def longest_side(shorter_side: int, multiple: int = 1) -> int:
    """Most pixels of an image's longer side, in whole multiples: 1333/800 of the shorter (ViLT's code): 639 for 384."""
    return shorter_side * 1333 // 800 // multiple * multiple
