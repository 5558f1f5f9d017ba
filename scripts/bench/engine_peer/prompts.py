"""Texts of a wanted length. Pure: the same seed gives the same text."""

from random import Random

_SUBJECTS = ("the river", "a baker", "the old clock", "our neighbour", "a small dog", "the train")
_VERBS = ("carried", "found", "remembered", "painted", "followed", "counted", "opened", "built")
_OBJECTS = ("a red door", "seven letters", "the garden", "an empty box", "the long road", "bread")
_TIMES = ("in the morning", "before the rain", "last year", "at noon", "after the storm", "again")
_TOKENS_A_SENTENCE = 10.2  # with the vocabulary of SmolLM2; others are near it

STORY = "Write a very long story about all of this. Do not stop early."


def filler(tokens: int, seed: int) -> str:
    """About so many tokens of plain sentences; another seed differs from the first sentence on."""
    rolls = Random(seed)
    return " ".join(
        f"{rolls.choice(_SUBJECTS).capitalize()} {rolls.choice(_VERBS)} {rolls.choice(_OBJECTS)} "
        f"{rolls.choice(_TIMES)}."
        for _ in range(max(1, round(tokens / _TOKENS_A_SENTENCE)))
    )


def story(tokens: int, seed: int) -> str:
    """A question of about so many tokens, whose answer goes on until it is cut off. The text
    begins with the seed: nothing of another's computation is of use."""
    return f"{seed}. {filler(tokens, seed)}\n\n{STORY}"
