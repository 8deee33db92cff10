"""The tokenizer: WordPiece trained on the run's own text, or any loaded from the files a published model comes with."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from vlfusion_jax.core.errors import UserError
from vlfusion_jax.core.json_object import read_json_object

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
# What a token is for, and what it is called by BERT, RoBERTa, CLIP and SigLIP, in the order in which they are tried.
ROLES = {
    "pad": (PAD, "<pad>", "<|endoftext|>", "</s>"),
    "begin": (CLS, "<s>", "<|startoftext|>"),
    "end": (SEP, "</s>", "<|endoftext|>"),
    "mask": (MASK, "<mask>"),
}
TOKENIZER, WORD_PIECES, BYTE_PAIRS = "tokenizer.json", "vocab.txt", "vocab.json"
_MERGES = "merges.txt"
# For messages.
_READABLE = f"a {TOKENIZER}, a {WORD_PIECES}, or a {BYTE_PAIRS} with its {_MERGES} beside it"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_CONTINUES = "##"
_ROBERTA_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
# CLIP's words (Radford et al. 2021): its special tokens, English endings, letters, single digits, other signs.
_CLIP_BEGIN, _CLIP_END, _CLIP_WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
_CLIP_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Train a lower-case WordPiece tokenizer of about `vocab_size` tokens on the distinct texts, in whatever order.

    Special tokens come first, [PAD] is 0; every character of the texts has a token even where that takes more than
    `vocab_size`. Encoding adds [CLS] and [SEP].
    """
    texts = sorted(set(texts))
    blank = _with_bert_rules(models.WordPiece(unk_token=UNK))
    words = {
        word for text in texts for word, _ in blank.pre_tokenizer.pre_tokenize_str(blank.normalizer.normalize_str(text))
    }
    # The trainer numbers word-inner characters in the order of a randomly seeded hash map, and breaks ties between
    # merges by those numbers. Naming them beforehand, as special tokens, is what makes training deterministic.
    inner = sorted({_CONTINUES + character for word in words for character in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=[*SPECIAL_TOKENS, *inner], show_progress=False
    )
    blank.train_from_iterator(texts, trainer)
    tokenizer = _with_bert_rules(models.WordPiece(vocab=blank.get_vocab(), unk_token=UNK))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return _with_ends(tokenizer)


def load_tokenizer(path: str, key: str = "data.tokenizer") -> Tokenizer:
    """Load a `tokenizer.json`, a BERT `vocab.txt`, or a RoBERTa or CLIP `vocab.json` with `merges.txt` beside it.

    Args:
      path: of the file.
      key: what named it, for messages; '' = it was found.

    Raises:
      UserError: it is missing, unreadable, or unknown in kind.
    """
    file, named = Path(path).expanduser(), f"{key} '{path}'".strip()
    if not file.is_file():
        other = ", or '' to train one" if key == "data.tokenizer" else ""
        raise UserError(f"{named} is not a file: give the path of {_READABLE}{other}.")
    kind, read = "tokenizer.json of the tokenizers library", _from_json
    if file.suffix == ".txt":
        kind, read = "vocab.txt of BERT", _from_word_pieces
    elif file.name == BYTE_PAIRS:
        kind, read = f"{BYTE_PAIRS} of RoBERTa or CLIP with its {_MERGES}", _from_byte_pairs
    try:
        tokenizer = read(file)
    except UserError:
        raise
    except Exception as error:  # tokenizers raises bare Exception
        raise UserError(f"{named} is not a {kind}: {error}") from error
    missing = [ROLES[role][0] for role in ("pad", "end") if special_token(tokenizer, role) is None]
    if missing:
        raise UserError(f"{named} has no {', '.join(missing)}, nor a token known to stand for it.")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return _with_ends(tokenizer)


def find_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer that lies in the folder of a published model.

    Raises:
      UserError: there is none that can be read.
    """
    for name in (TOKENIZER, WORD_PIECES, BYTE_PAIRS):
        if (folder / name).is_file():
            return load_tokenizer(str(folder / name), key="")
    raise UserError(
        f"{folder} holds no tokenizer: give the model's own with --tokenizer=FILE, the path of {_READABLE}."
    )


def wordless_tokenizer() -> Tokenizer:
    """The tokenizer of a model that reads no text: it knows the special tokens alone, for batches that have texts."""
    vocab = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    tokenizer = _with_bert_rules(models.WordPiece(vocab=vocab, unk_token=UNK))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return _with_ends(tokenizer)


def special_token(tokenizer: Tokenizer, role: str) -> str | None:
    """What the tokenizer calls its token for `role` of `ROLES`; None where it has none."""
    return next((token for token in ROLES[role] if tokenizer.token_to_id(token) is not None), None)


def _from_json(file: Path) -> Tokenizer:
    return Tokenizer.from_file(str(file))


def _from_word_pieces(file: Path) -> Tokenizer:
    # Not splitlines(): a piece may be a character that Unicode counts among the ends of lines.
    pieces = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    lowercase = _settings(file).get("do_lower_case")
    if lowercase is None:
        # A cased vocabulary has capital letters; an uncased one only in its special tokens.
        lowercase = not any(piece[:1].isalpha() and piece != piece.lower() for piece in pieces)
    vocab = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = _with_bert_rules(models.WordPiece(vocab=vocab, unk_token=UNK), lowercase)
    tokenizer.add_special_tokens([token for token in SPECIAL_TOKENS if token in vocab])
    return tokenizer


def _from_byte_pairs(file: Path) -> Tokenizer:
    """RoBERTa's tokenizer (Liu et al. 2019), which is GPT-2's, or CLIP's where the vocabulary has its first token."""
    if not file.with_name(_MERGES).is_file():
        raise UserError(f"{file} needs the {_MERGES} that belongs to it beside it.")
    vocab, merges = models.BPE.read_file(str(file), str(file.with_name(_MERGES)))
    settings, is_clip = _settings(file), _CLIP_BEGIN in vocab
    more = {"unk_token": _CLIP_END, "end_of_word_suffix": _CLIP_WORD_END} if is_clip else {"end_of_word_suffix": ""}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, continuing_subword_prefix="", **more))
    if is_clip:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        words = pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    else:
        space = bool(settings.get("add_prefix_space", False))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for token in (*_ROBERTA_SPECIAL, _CLIP_BEGIN, _CLIP_END) if token in vocab]
    tokenizer.add_special_tokens(_added_tokens(settings) or special)
    return tokenizer


def _added_tokens(settings: dict[str, Any]) -> list[AddedToken]:
    """Special tokens that a `tokenizer_config.json` describes, in the order of their numbers."""
    described = settings.get("added_tokens_decoder") or {}
    return [AddedToken(**described[number]) for number in sorted(described, key=int)]


def _settings(vocabulary: Path) -> dict[str, Any]:
    """What stands beside a vocabulary about how it is used."""
    return read_json_object(vocabulary.with_name(_TOKENIZER_CONFIG))


def _with_bert_rules(model: models.Model, lowercase: bool = True) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _with_ends(tokenizer: Tokenizer) -> Tokenizer:
    """Every text begins and ends with its special token, where the tokenizer has one."""
    begin, end = special_token(tokenizer, "begin"), special_token(tokenizer, "end")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=" ".join(part for part in (begin, "$A", end) if part),
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in (begin, end) if token],
    )
    return tokenizer
