"""What a run calls things: text tokens, answers, question kinds. Kept with every checkpoint."""

import itertools
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from tokenizers import Tokenizer, decoders, models

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.data.records import Question, Source
from vlfusion_jax.data.tokenizer import ROLES, SPECIAL_TOKENS, load_tokenizer, special_token, train_tokenizer

MAX_ANSWERS_PER_QUESTION = 10  # as many as VQA has annotators


@dataclass(frozen=True)
class Vocabulary:
    """Tokenizer (as the text of its `tokenizer.json`), answer classes, and question kinds of a run.

    `answers_per_question` is the number of answers with a score that one question has room for in a batch, `rows` the
    number of words that a published model was built for, where that is more than its tokenizer knows.
    """

    tokenizer_json: str
    answers: tuple[str, ...]
    kinds: tuple[str, ...]
    answers_per_question: int = 1
    rows: int = 0

    def to_dict(self) -> dict[str, Any]:
        """A JSON-able dict that `from_dict` reads back."""
        return asdict(self) | {"answers": list(self.answers), "kinds": list(self.kinds)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Vocabulary":
        """Inverse of `to_dict`."""
        return cls(**values | {"answers": tuple(values["answers"]), "kinds": tuple(values["kinds"])})

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer itself."""
        return Tokenizer.from_str(self.tokenizer_json)

    @property
    def size(self) -> int:
        """Number of text tokens that a model knows, the special ones included."""
        return max(self.tokenizer.get_vocab_size(), self.rows)

    @cached_property
    def pad_id(self) -> int:
        """Id of the token behind a text, such as [PAD]."""
        return self._special("pad")

    @cached_property
    def begin_id(self) -> int:
        """Id of the first token of every text, such as [CLS]."""
        return self._special("begin")

    @cached_property
    def end_id(self) -> int:
        """Id of the last token of every text, such as [SEP]."""
        return self._special("end")

    @cached_property
    def mask_id(self) -> int:
        """Id of the token in the place of a hidden one, such as [MASK]."""
        return self._special("mask")

    def _special(self, role: str) -> int:
        token = special_token(self.tokenizer, role)
        if token is None:
            raise UserError(f"the tokenizer has no {ROLES[role][0]}, nor a token known to stand for it.")
        return self.tokenizer.token_to_id(token)

    @cached_property
    def ordinary_ids(self) -> np.ndarray:
        """Ids of all tokens that are not special, ascending, int32."""
        known = {token for tokens in ROLES.values() for token in tokens} | set(SPECIAL_TOKENS)
        special = {self.tokenizer.token_to_id(token) for token in known}
        return np.array(sorted(set(self.tokenizer.get_vocab().values()) - special), np.int32)

    @cached_property
    def answer_id(self) -> dict[str, int]:
        """Answer → class number."""
        return {answer: number for number, answer in enumerate(self.answers)}

    @cached_property
    def kind_id(self) -> dict[str, int]:
        """Question kind → its number."""
        return {kind: number for number, kind in enumerate(self.kinds)}

    def encode(self, text: str, length: int, fill: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Encode as [CLS] text [SEP] [PAD]…, or with what stands for these in the tokenizer.

        Returns read-only (ids, mask), both [length] int32, mask 1 = token, 0 = padding.
        A text that is too long loses its end but keeps its last token. `length` is at least 2.
        With `fill` the last token is repeated in place of padding, and counts as the others do (SigLIP).
        """
        ids, mask, _ = self._encode(text, length, fill)
        return ids, mask

    def length_of(self, text: str) -> int:
        """Number of tokens of a text that is not cut, those at its ends included."""
        return len(self.tokenizer.encode(text).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids, special ones left out."""
        if self.tokenizer.decoder is None and isinstance(self.tokenizer.model, models.WordPiece):
            self.tokenizer.decoder = decoders.WordPiece()
        return self.tokenizer.decode(ids)

    def word_ids(self, text: str, length: int) -> np.ndarray:
        """For each token of `encode(text, length)` the number of its word, -1 for special tokens: [length] int32."""
        return self._encode(text, length, False)[2]

    def words(self, text: str, length: int) -> list[tuple[str, list[int]]]:
        """The words of a text as it is written, each with its places among the tokens of `encode(text, length)`.

        Special tokens and signs, such as `?`, are no words.
        """
        places: dict[int, list[int]] = {}
        for place, word in enumerate(self.word_ids(text, length)):
            if word >= 0:
                places.setdefault(int(word), []).append(place)
        offsets = self.tokenizer.encode(text).offsets
        written = [(text[offsets[own[0]][0] : offsets[own[-1]][1]].strip(), own) for own in places.values()]
        return [(word, own) for word, own in written if any(map(str.isalnum, word))]

    @cached_property
    def _encode(self):
        return lru_cache(maxsize=1 << 17)(self._encode_anew)

    def _encode_anew(self, text: str, length: int, fill: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        encoding = self.tokenizer.encode(text)
        used = min(len(encoding.ids), length)
        ids = np.full(length, self.end_id if fill else self.pad_id, np.int32)
        ids[:used] = encoding.ids[:used]
        ids[used - 1] = self.end_id
        words = np.full(length, -1, np.int32)
        words[:used] = [-1 if word is None else word for word in encoding.word_ids[:used]]
        words[used - 1] = -1
        mask = (np.arange(length) < (length if fill else used)).astype(np.int32)
        for array in (ids, mask, words):
            array.flags.writeable = False  # shared through the cache
        return ids, mask, words


def begin_and_end(model: ConfigDict, vocabulary: Vocabulary) -> tuple[int, int]:
    """Ids of the tokens around what a model writes: its family's own, where it has them, or the vocabulary's.

    Args:
      model: `config.model`.
      vocabulary: its tokenizer.

    Raises:
      UserError: there are none.
    """
    begin, end = model.get("begin_id"), model.get("end_id")
    return vocabulary.begin_id if begin is None else begin, vocabulary.end_id if end is None else end


def build_vocabulary(
    sources: Sequence[Source], data: ConfigDict, base: Vocabulary | None = None, writes_answers: bool = False
) -> Vocabulary:
    """Vocabulary of the texts of `sources`, normally the training split alone.

    Answers are those that the sources count at least `data.answers_min_count` times, most frequent first, then by name;
    kinds are sorted by name. The tokenizer is loaded from `data.tokenizer`; where that is '' it is that of `base`, the
    vocabulary of the checkpoint that a run starts from; without either it is trained to `data.vocab_size` tokens, on
    the answers too where these are to be written.

    Raises UserError where `data.tokenizer` is unusable, or where no answer is frequent enough.
    """
    if data.tokenizer:
        tokenizer = load_tokenizer(data.tokenizer)
    elif base is not None:
        tokenizer = base.tokenizer
    else:
        texts = (text for s in sources for text in s.texts())
        answers = (answer for s in sources for answer in s.answer_counts()) if writes_answers else ()
        tokenizer = train_tokenizer(itertools.chain(texts, answers), data.vocab_size)
    counts: Counter[str] = Counter()
    kinds: set[str] = set()
    for source in sources:
        counts.update(source.answer_counts())
        kinds.update(question.kind for index in range(len(source)) for question in source.text_of(index)[1])
    answers = sorted((a for a, n in counts.items() if n >= data.answers_min_count), key=lambda a: (-counts[a], a))
    if counts and not answers:
        raise UserError(
            f"no answer occurs data.answers_min_count={data.answers_min_count} times; the most frequent one,"
            f" '{counts.most_common(1)[0][0]}', occurs {max(counts.values())} times: lower data.answers_min_count."
        )
    return Vocabulary(
        tokenizer_json=tokenizer.to_str(),
        answers=tuple(answers),
        kinds=tuple(sorted(kinds - {""})),
        answers_per_question=max(map(most_answers, sources), default=1),
        rows=base.rows if base is not None else 0,
    )


def unanswerable(questions: Iterable[Question], answers: Container[str]) -> str:
    """A sentence on how many questions have none of `answers`, which training leaves out; '' where there are none."""
    known = [any(answer in answers for answer, _ in question.answers) for question in questions]
    without = known.count(False)
    if not without:
        return ""
    return f"{without:,} of {len(known):,} training questions have no answer in the vocabulary: they are left out"


def most_answers(source: Source) -> int:
    """The most answers that a question of `source` has, from 1 to `MAX_ANSWERS_PER_QUESTION`."""
    counts = (len(question.answers) for index in range(len(source)) for question in source.text_of(index)[1])
    return min(max(counts, default=1), MAX_ANSWERS_PER_QUESTION)


def check_same(found: Vocabulary, expected: Vocabulary, where: str) -> None:
    """Raise UserError naming the first difference between two vocabularies; `where` says where `expected` is from."""
    for field in ("answers", "kinds"):
        _check_list(field, getattr(found, field), getattr(expected, field), where)
    if found.tokenizer_json != expected.tokenizer_json:
        tokens = (sorted(v.tokenizer.get_vocab(), key=v.tokenizer.get_vocab().get) for v in (found, expected))
        _check_list("tokens", *tokens, where)
        raise UserError(f"the tokenizer's rules differ from those of {where}: use the same tokenizer.json and text.")
    if found.answers_per_question != expected.answers_per_question:
        raise UserError(
            f"questions have up to {found.answers_per_question} answers here, but {expected.answers_per_question} in"
            f" {where}: use the data and data.* settings it was made with."
        )


def _check_list(field: str, found: Sequence[str], expected: Sequence[str], where: str) -> None:
    advice = "use the data and data.* settings it was made with, or start a new work directory"
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=False)):
        if ours != theirs:
            raise UserError(
                f"the vocabulary does not match {where}: number {number} of its {field} is '{theirs}' there and"
                f" '{ours}' here; {advice}."
            )
    if len(found) != len(expected):
        raise UserError(
            f"the vocabulary does not match {where}: it has {len(expected)} {field}, here are {len(found)}; {advice}."
        )
