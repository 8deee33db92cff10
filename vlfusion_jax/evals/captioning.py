"""How good written captions are, as shares of all and by the field's metrics."""

import re
from collections.abc import Sequence

from vlfusion_jax.evals.captions import caption_scores

_SHOWN = ("bleu4", "rouge_l", "cider")
# Those without a pattern; see `captioning_metrics`.
CAPTIONING_METRICS = ("caption_exact_accuracy", *(f"caption_{name}" for name in _SHOWN))


def captioning_metrics(
    captions: Sequence[str], references: Sequence[Sequence[str]], pattern: str = ""
) -> dict[str, float]:
    """`caption_exact_accuracy`, `caption_bleu4`, `caption_rouge_l`, `caption_cider`, and with a pattern one more.

    Args:
      captions: one of each image.
      references: of each image, one or more.
      pattern: regular expression; `caption_pattern_accuracy` is then the share of captions in which it finds what it
        finds in a reference, of those images whose references it finds anything in.
    """
    wanted = [[_plain(text) for text in texts] for texts in references]
    found = [_plain(text) for text in captions]
    exact = [text in texts for text, texts in zip(found, wanted, strict=True)]
    metrics = {"caption_exact_accuracy": sum(exact) / len(exact)}
    if pattern:
        asked = [
            (re.findall(pattern, text), [re.findall(pattern, reference) for reference in texts])
            for text, texts in zip(found, wanted, strict=True)
        ]
        asked = [(own, of_references) for own, of_references in asked if any(of_references)]
        if asked:
            metrics["caption_pattern_accuracy"] = sum(own in of for own, of in asked) / len(asked)
    scores = caption_scores(captions, references).corpus
    return metrics | {f"caption_{name}": scores[name] for name in _SHOWN}


def _plain(text: str) -> str:
    """In small letters, single spaces, and none around signs: word pieces are joined with some."""
    return re.sub(r"\s*([^\w\s])\s*", r"\1", " ".join(text.lower().split()))
