"""Words of a caption as the official caption metrics count them: Penn Treebank tokens, lower case, no punctuation.

Those metrics (github.com/tylin/coco-caption) call Stanford's PTBTokenizer, a Java program, and drop its marks. What is
here follows the Treebank's rules (Marcus et al. 1993; catalog.ldc.upenn.edu/docs/LDC99T42/tokenization.txt) as far as
captions need them; Stanford's lists of abbreviations and web addresses are longer.
"""

import re

# `-lowerCase` makes -lrb- of brackets, which the official list spells in capitals: they stay.
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_DROPPED = {"''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", '"'}
_ABBREVIATIONS = (
    "mr|mrs|ms|dr|prof|jr|sr|st|ave|blvd|rd|gen|col|capt|lt|sgt|rev|gov|sen|rep|inc|co|corp|ltd|vs|etc|ft|mt|dept|"
    "jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec"
)
_LETTER = r"[^\W\d_]"
_TOKEN = re.compile(
    rf"""
    (?:https?://|www\.)\S+[\w/]                           # web addresses
    | \d+/\d+ (?!\w)                                      # fractions
    | \d{{1,3}}(?:,\d{{3}})+(?:\.\d+)? (?!\d)             # 1,000.5
    | \d+(?:[.:]\d+)+                                     # 3.5, 10:30
    | \.\d+                                               # .5
    | (?:{_LETTER}\.){{2,}}                               # u.s.
    | (?:{_ABBREVIATIONS})\. (?!\w)                        # mr.
    | no\.(?=\s*\d)                                       # no. 5
    | {_LETTER}\.(?=\s+{_LETTER})                          # an initial
    | (?:can)(?=not\b) | (?:gon|wan)(?=na\b) | (?:got)(?=ta\b) | (?:gim|lem)(?=me\b)
    | '(?:s|m|d|re|ve|ll)\b | n't\b                       # ends of contractions
    | '(?:t)(?=is\b|was\b)                                # 'tis
    | (?:\w(?!n't\b))+\w?(?=n't\b)                        # do|n't
    | \w+(?:[-/.]\w+)*(?:'(?!(?:s|m|d|re|ve|ll|t)\b){_LETTER}+)*   # words, also with-hyphens, a/b, and o'clock
    | \.\.\. | -- | '' | ``
    | \S
    """,
    re.VERBOSE,
)


def caption_words(text: str) -> list[str]:
    """Words of a caption, lower case; punctuation is dropped, clitics such as 's and n't are words."""
    tokens = _TOKEN.findall(text.lower().replace("\n", " ").replace("’", "'"))
    return [_BRACKETS.get(token, token) for token in tokens if token not in _DROPPED]
