"""A trained or converted model in Python: `vlfusion_jax.load(path)`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from vlfusion_jax.core import names
from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.precision import COMPUTE_DTYPES
from vlfusion_jax.core.tree import nested
from vlfusion_jax.data.layout import fills_texts
from vlfusion_jax.data.vocabulary import Vocabulary
from vlfusion_jax.models.families.table import model_spec
from vlfusion_jax.models.fusion import FusionModel
from vlfusion_jax.models.output import FusionOutput
from vlfusion_jax.models.spec.heads import WordHead
from vlfusion_jax.models.spec.streams import TARGET
from vlfusion_jax.serve.answers import Answer, best_answers
from vlfusion_jax.serve.explain import ROLLOUT, explain
from vlfusion_jax.serve.explanation import Explanation
from vlfusion_jax.serve.inputs import Picture, encode_pictures, encode_regions, encode_texts, text_input
from vlfusion_jax.serve.retrieval import Found, check_able, matching_shares, search
from vlfusion_jax.serve.scorer import Arrays, Scorer
from vlfusion_jax.serve.writing import Writer, check_ability
from vlfusion_jax.train.converted import heads_of, read_parameters


class Model:
    """A model with its parameters, vocabulary and config, on one device.

    Attributes:
      config: of the run or the conversion.
      vocabulary: tokenizer and answers.
      module: the linen module; `module.spec` says what it is.
      params: as `module.apply({"params": params}, …)` takes them.
      heads: names of the heads it has parameters for.
      scorer: compares images and texts.
    """

    def __init__(self, config: ConfigDict, vocabulary: Vocabulary, params: Mapping[str, Any]):
        spec = model_spec(config, vocabulary.size, len(vocabulary.answers))
        self.config, self.vocabulary = config, vocabulary
        self.module = FusionModel(spec, COMPUTE_DTYPES[config.precision.compute])
        self.heads = heads_of(dict(params))
        self.params = jax.device_put(nested(params))
        self._apply = jax.jit(self._run, static_argnames=("heads", "capture"))
        self._writer = Writer(self.module, config.model, vocabulary)
        self.scorer = Scorer(self.module, self.params, self.heads, config.eval.batch_size)

    def _run(self, params: Any, inputs: Mapping[str, jax.Array], heads: tuple[str, ...], capture: bool) -> FusionOutput:
        return self.module.apply({"params": params}, inputs, heads, capture=capture)

    def __call__(
        self, inputs: Mapping[str, np.ndarray], heads: Sequence[str] | None = None, capture: bool = False
    ) -> FusionOutput:
        """Outputs for inputs as `encode` gives them; see `FusionModel`.

        Args:
          inputs: arrays by name.
          heads: to apply; None = all it has whose inputs are there.
          capture: also return hidden states and attention maps.

        Raises:
          UserError: a head that it does not have.
        """
        if heads is None:
            heads = [head for head in self.heads if not self._lacks(head, inputs)]
        for head in heads:
            if head not in self.heads:
                raise UserError(f"this model has no head {head!r}; it has {', '.join(self.heads) or 'none'}.")
            if missing := self._lacks(head, inputs):
                raise UserError(f"head {head!r} reads {missing!r}, which is not among the inputs.")
        return self._apply(self.params, dict(inputs), tuple(heads), capture)

    def _lacks(self, head: str, inputs: Mapping[str, np.ndarray]) -> str:
        """Name of an input that a head reads and that is not there; '' = none."""
        spec = self.module.spec.head(head)
        if not isinstance(spec, WordHead):
            return ""
        read = [] if spec.everywhere else [names.MLM_POSITIONS]
        read += [names.TARGET] if spec.stream == TARGET else []
        return next((name for name in read if name not in inputs), "")

    def encode(
        self,
        pictures: Sequence[Picture] = (),
        texts: Sequence[str] = (),
        length: int = 0,
        regions: np.ndarray | None = None,
        boxes: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Inputs of pictures and texts, one text or several for each picture, in order; of what the model reads alone.

        Args:
          pictures: paths of image files, or [height, width, 3] uint8 RGB.
          texts: their number is a multiple of that of the pictures.
          length: padded tokens; 0 = as few as hold all texts, at most what the model has room for: a text beyond is
            cut, with a warning. A model whose texts fill their length (`model.fill_texts`) has it from
            `data.question_length`.
          regions: [images, regions, features], a detector's vectors, for a model that reads them in place of pictures.
          boxes: [images, regions, 4], their left, top, right and bottom in [0, 1].

        Raises:
          UserError: a file that cannot be read, an array of another shape or type, numbers that do not divide, or what
            the model does not read.
        """
        spec = self.module.spec
        read, rows = encode_texts(texts, spec, self.vocabulary, *self._text_length(length))
        if regions is None and boxes is None:
            seen, count = encode_pictures(pictures, spec, self.config.data)
        elif pictures:
            raise UserError("give `pictures`, or `regions` and `boxes`, not both.")
        else:
            seen, count = encode_regions(regions, boxes, spec)
        if rows and count and rows % count:
            what = "pictures" if pictures else "images with regions"
            raise UserError(f"{rows} texts do not divide among {count} {what}.")
        return seen | read

    def _text_length(self, length: int = 0) -> tuple[int, bool]:
        """Of texts, and whether they fill it, as `encode_texts` takes both."""
        fill = fills_texts(self.config)
        return (self.config.data.question_length if fill and not length else length), fill

    def _encode_side(self, side: str, given: Sequence[Picture]) -> Arrays:
        spec = self.module.spec
        if side == names.IMAGE:
            return encode_pictures(given, spec, self.config.data)[0]
        return encode_texts(given, spec, self.vocabulary, *self._text_length())[0]

    def score(self, picture: Picture, texts: Sequence[str]) -> list[float]:
        """Probability that the picture matches, for each text; see `serve.retrieval.matching_shares`.

        Raises:
          UserError: the model does not judge pairs, or the picture cannot be read.
        """
        self.scorer.check_judges()
        images, read = self._encode_side(names.IMAGE, [picture]), self._encode_side(names.TEXT, texts)
        return matching_shares(self.scorer, images, read).tolist()

    def embed(self, pictures: Sequence[Picture] = (), texts: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Unit vectors [rows, width] f32 of the contrastive head, by `image` and `text`: of what is given.

        Raises:
          UserError: the model has no such head, or a picture cannot be read.
        """
        if not self.scorer.compares:
            raise UserError(f"this model has no vectors of images and texts: it has no head {names.CONTRASTIVE!r}.")
        given = {side: items for side, items in ((names.IMAGE, pictures), (names.TEXT, texts)) if len(items)}
        return {
            side: self.scorer.encode(side, self._encode_side(side, items), for_pairs=False).vectors
            for side, items in given.items()
        }

    def retrieve(
        self,
        query: Picture,
        pictures: Sequence[Picture] = (),
        texts: Sequence[str] = (),
        top: int = 5,
        shortlist: int | None = None,
    ) -> list[Found]:
        """The `top` of `pictures` for a text, or of `texts` for a picture, best first; see `serve.retrieval.search`.

        Args:
          query: a text where `pictures` are given; the path of an image file, or [height, width, 3] uint8 RGB, where
            `texts` are.
          pictures, texts: what is searched, one of both.
          top: how many to find.
          shortlist: how many of the most similar the matching head judges; None = 32 of a model that can, else all.

        Raises:
          UserError: both or neither are given, the model lacks what is asked of it, or a picture cannot be read.
        """
        if bool(len(pictures)) == bool(len(texts)):
            raise UserError("give `pictures` to search for a text, or `texts` to search for a picture.")
        check_able(self.scorer, shortlist)
        images = self._encode_side(names.IMAGE, pictures if len(pictures) else [query])
        read = self._encode_side(names.TEXT, texts if len(texts) else [query])
        return search(self.scorer, images, read, top, shortlist)

    def answer(
        self,
        picture: Picture,
        question: str,
        top: int = 5,
        beams: int = 1,
        max_length: int = 20,
        candidates: Sequence[str] = (),
    ) -> list[Answer]:
        """The `top` most probable answers, best first; a model that reads no text gives its classes, whatever is asked.

        A model without classes of answers finds the most probable of `candidates`, the probability of each being the
        product of those of its tokens. Without candidates it writes one answer, found with `beams` and `max_length` as
        in `caption`.

        Raises:
          UserError: the model does not answer, or not by candidates, or the picture cannot be read.
        """
        return self.answers([picture], [question], top, beams, max_length, candidates)[0]

    def answers(
        self,
        pictures: Sequence[Picture],
        questions: Sequence[str],
        top: int = 5,
        beams: int = 1,
        max_length: int = 20,
        candidates: Sequence[str] = (),
    ) -> list[list[Answer]]:
        """As `answer`, to a question about each picture, in one batch.

        Raises:
          UserError: as `answer`.
        """
        if names.ANSWER in self.heads and (candidates or names.VQA not in self.heads):
            inputs = self.encode(pictures, questions)
            if candidates:
                return self._writer.choose(self.params, inputs, names.ANSWER, candidates, top)
            written = self._writer.write(self.params, inputs, names.ANSWER, beams=beams, max_length=max_length)
            return [[answer] for answer in written]
        check_ability(self.heads, names.VQA, "cannot answer questions")
        if candidates:
            raise UserError("candidates: this model answers by its own classes: leave them out.")
        texts = [] if text_input(self.module.spec) is None else questions
        logits = self(self.encode(pictures, texts), (names.VQA,)).logits[names.VQA]
        return best_answers(np.asarray(logits), self.vocabulary.answers, self.config.tasks.vqa.loss, top)

    def caption(
        self,
        picture: Picture,
        prompt: str = "",
        beams: int = 1,
        max_length: int = 20,
        min_length: int = 0,
        length_penalty: float = 1.0,
        repetition_penalty: float = 1.0,
        top_p: float | None = None,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> str:
        """A caption of a picture; defaults as those of `generate` of `transformers`.

        Args:
          picture: path of an image file, or [height, width, 3] uint8 RGB.
          prompt: how the caption begins.
          beams: captions that are kept at a time; 1 = always the most probable token.
          max_length: tokens of the longest caption, those at its ends included.
          min_length: tokens of the shortest one, counted alike.
          length_penalty: with beams, above 0 favours long captions, see `models.search.Search`.
          repetition_penalty: above 1 makes tokens that the caption already has less probable.
          top_p: draw each token from the most probable ones that together have this probability; None = do not draw.
          temperature: of draws; below 1 they are nearer to the most probable token.
          seed: of draws.

        Raises:
          UserError: the model writes no captions, the picture cannot be read, or an argument means nothing.
        """
        [caption] = self.captions(
            [picture], prompt, seed, beams=beams, max_length=max_length, min_length=min_length,
            length_penalty=length_penalty, repetition_penalty=repetition_penalty, top_p=top_p, temperature=temperature,
        )  # fmt: skip
        return caption

    def captions(
        self,
        pictures: Sequence[Picture],
        prompt: str | Sequence[str] = "",
        seed: int = 0,
        **how: Any,
    ) -> list[str]:
        """A caption for each picture, as one batch; compiled once for each number of pictures.

        Args:
          pictures: each as in `caption`.
          prompt: one for all, or one for each picture.
          seed: of draws, whose keys differ from picture to picture.
          how: other arguments of `caption`.

        Raises:
          UserError: as in `caption`, or too many or few prompts.
        """
        check_ability(self.heads, names.CAPTION, "writes no captions")
        # Alone, even of a model that reads texts beside writing some.
        inputs, _ = encode_pictures(list(pictures), self.module.spec, self.config.data)
        written = self._writer.write(self.params, inputs, names.CAPTION, prompt, seed, **how)
        return [each.text for each in written]

    def explain(self, picture: Picture, text: str, method: str = ROLLOUT, head: str = "") -> Explanation:
        """Which cells of a picture go with which word of a text: arrays, with `.save(path)` and `.draw()`.

        Args:
          picture: path of an image file, or [height, width, 3] uint8 RGB.
          text: a question, or a caption; for a model that writes captions, the one it is to have written.
          method: `rollout`: attention followed through all layers, see `serve.rollout`; `attention`: that of each layer
            between text and image, the mean over its heads; `alignment`: the optimal transport between the final tokens
            of words and cells (Kim et al. 2021, figure 4), for models that were trained to bring these together.
          head: that gives the verdict, `vqa` or `itm`; '' = the answer of a model that answers, or whether both match.

        Raises:
          UserError: text and image do not attend to each other, the model has no such head, or the picture cannot be
            read.
        """
        return explain(self, picture, text, method, head)


def load(path: str | Path) -> Model:
    """The model of a work directory's newest checkpoint, of one checkpoint, or of a converted folder.

    Raises:
      UserError: no readable checkpoint there.
    """
    params, config, vocabulary = read_parameters(str(path))
    return Model(config, vocabulary, params)
