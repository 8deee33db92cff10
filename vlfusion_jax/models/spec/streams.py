"""Names of streams that outputs and heads know; a family may have others, such as learned tokens."""

TEXT = "text"
IMAGE = "image"
JOINT = "joint"  # text and image tokens in one sequence
TARGET = "target"  # text that is generated
POOLED = "pooled"  # for contrastive heads: the fused vector, as a stream of one token


def pooled_of(stream: str) -> str:
    """For contrastive heads: the vector that the model pools of `stream`, as a stream of one token."""
    return f"{stream}_pooled"
