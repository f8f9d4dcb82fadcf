"""Words of texts as they are looked for: without case, accents and punctuation, in any script.

Who keeps them, and how they are found again, is for `data.store.search`.
"""

import re
import unicodedata
from collections.abc import Iterator

LONGEST_WORD = 40
#: Letters with strokes and ligatures, which Unicode does not take apart.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ŋ": "n"}
)
#: Scripts without spaces between words: Thai, Lao, Burmese, Khmer, kana and Chinese characters.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+"
)
#: Combining classes of the vowel points of Hebrew and Arabic.
_OPTIONAL_POINTS = range(10, 37)


def folded(text: str) -> str:
    """Without case and accents: `Späti`, `SPÄTI` and `spati` are the same, and so are full and half width."""
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return unicodedata.normalize("NFC", "".join(char for char in apart if not _is_accent(char))).translate(_PLAIN)


def _is_accent(char: str) -> bool:
    """Whether a word is the same word without it: accents, and the vowel points of Hebrew and Arabic, but not the vowel
    signs of Indic scripts."""
    place = unicodedata.combining(char)
    return place >= 200 or place in _OPTIONAL_POINTS


def words(text: str) -> Iterator[str]:
    """The words of a text, folded, in their order. Of scripts without spaces every two characters are one."""
    for run in _runs(folded(text)):
        start = 0
        for unspaced in _UNSPACED.finditer(run):
            if start < unspaced.start():
                yield run[start : unspaced.start()][:LONGEST_WORD]
            yield from _pairs(unspaced.group())
            start = unspaced.end()
        if start < len(run):
            yield run[start:][:LONGEST_WORD]


def is_unspaced(word: str) -> bool:
    """Whether a word is of a script without spaces."""
    return _UNSPACED.fullmatch(word) is not None


def _pairs(run: str) -> Iterator[str]:
    if len(run) == 1:
        yield run
    for start in range(len(run) - 1):
        yield run[start : start + 2]


def _runs(text: str) -> Iterator[str]:
    """Letters, digits and the marks that belong to them, as long as nothing else stands between."""
    run: list[str] = []
    for char in text:
        if char.isalnum() or unicodedata.category(char)[0] == "M":
            run.append(char)
        elif run:
            yield "".join(run)
            run = []
    if run:
        yield "".join(run)
