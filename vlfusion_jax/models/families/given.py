"""What a run's data decides about a model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Given:
    """Sizes that a family does not choose.

    Attributes:
      vocab: number of word pieces.
      answers: number of answers; at least 1.
      text_length: padded tokens of the longest text.
      image_size: height and width of the canvas, in pixels.
      answer_hidden: hidden width of the answer head; 0 = as the family has it.
      regions: room for regions of an image; 0 = as the family has it.
      shorter_side: to which images are brought, the longer one following, in pixels; 0 = they fill the canvas.
    """

    vocab: int
    answers: int
    text_length: int
    image_size: tuple[int, int]
    answer_hidden: int = 0
    regions: int = 0
    shorter_side: int = 0


# For what a model is whatever the data.
ANY_GIVEN = Given(vocab=8, answers=2, text_length=8, image_size=(64, 64))
