"""The WordPiece tokenizer: trained on the run's own text, or loaded from a `tokenizer.json`."""

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from vlfusion_jax.core.errors import UserError

PAD, UNK, CLS, SEP, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL_TOKENS = (PAD, UNK, CLS, SEP, MASK)
_CONTINUES = "##"


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


def load_tokenizer(path: str) -> Tokenizer:
    """Load a `tokenizer.json`; UserError where it is missing, unreadable, or lacks a BERT special token."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(
            f"data.tokenizer '{path}' is not a file: give the path of a tokenizer.json, or '' to train one."
        )
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # tokenizers raises bare Exception
        raise UserError(
            f"data.tokenizer '{path}' is not a tokenizer.json of the tokenizers library: {error}"
        ) from error
    missing = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is None]
    if missing:
        raise UserError(f"data.tokenizer '{path}' has no {', '.join(missing)}: it needs {', '.join(SPECIAL_TOKENS)}.")
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return _with_ends(tokenizer)


def _with_bert_rules(model: models.Model) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def _with_ends(tokenizer: Tokenizer) -> Tokenizer:
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{CLS} $A {SEP}", special_tokens=[(token, tokenizer.token_to_id(token)) for token in (CLS, SEP)]
    )
    return tokenizer
