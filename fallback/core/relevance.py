"""Which tools the user's words are about.

A word tells tools apart where few of them have it (K. Spaerck Jones, "A statistical
interpretation of term specificity and its application in retrieval", 1972): here one in four of
them at most. A tool matches where the words name it, with one such word of its name, or speak
of it, with two such words of its description. More words never match fewer tools.

Words are compared without the endings of English plurals and verbs. Where a language writes no
spaces only names match.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from fallback.core.conversation import Tool

_NEEDED_OF_DESCRIPTION = 2
_FEW_TOOLS = 4  # one in so many
# Later sentences of long descriptions are about manners, with words of every other tool.
_DESCRIPTION_CHARS = 600

_WORD = re.compile(r"[^\W\d_]+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_ENDING = re.compile(r"(?<=\w{3})(?:ing|ed|e)$")
_NO_SUBJECT = frozenset(
    _WORD.findall(
        "about after all also and any are can could does for from get give has have her him his "
        "but how into its let make may more not now off one other our out over please say set she "
        "some than that the their them then there they this tool use used user using was were what "
        "when where which who why will with would yes you your"
    )
)


def relevant(tools: Sequence[Tool], texts: Iterable[str]) -> frozenset[str]:
    """The names of the tools that what the user said is about."""
    said = frozenset().union(*map(words, texts))
    names = [words(tool.name) for tool in tools]
    about = [words(tool.description[:_DESCRIPTION_CHARS]) for tool in tools]
    telling_names, telling = (
        _telling(names),
        _telling([a | b for a, b in zip(names, about, strict=True)]),
    )
    return frozenset(
        tool.name
        for tool, name, words_about in zip(tools, names, about, strict=True)
        if said & name & telling_names
        or len(said & words_about & telling) >= _NEEDED_OF_DESCRIPTION
    )


def words(text: str) -> frozenset[str]:
    """The words of a text that may tell what it is about; names in camel case have several."""
    found = (word.lower() for word in _WORD.findall(_HUMP.sub(" ", text)))
    return frozenset(_stem(word) for word in found if len(word) > 2 and word not in _NO_SUBJECT)


def _stem(word: str) -> str:
    if word.endswith("s") and not word.endswith("ss"):
        word = word[:-1]
    return _ENDING.sub("", word)


def _telling(documents: Sequence[Collection[str]]) -> frozenset[str]:
    """The words that few of the documents have."""
    having = Counter(word for document in documents for word in document)
    few = max(1, len(documents) // _FEW_TOOLS)
    return frozenset(word for word, number in having.items() if number <= few)
