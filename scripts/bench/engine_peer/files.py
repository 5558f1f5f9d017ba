"""Small files in the middle of an editing session, and what is to be changed next. Pure.

The session has gone through one change already, and the whole file was given again: so the way
to answer is clear even to the small model that comes with the service. What it has no difficulty
with is prose; code it would begin to write anew.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_FENCE = "```\n"
_AGAIN = "Give the whole file again."


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of a word, as it is asked for."""

    old: str
    new: str

    def wish(self) -> str:
        return f"Change {self.old} to {self.new}. {_AGAIN}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A file, a change that was made, and the one that is wanted now."""

    file: str
    made: Change
    wanted: Change

    def turns(self) -> Sequence[Mapping[str, str]]:
        """The conversation so far; the answer is nearly the file again."""
        now = self.file.replace(self.made.old, self.made.new)
        return (
            _turn("user", f"Here is a file:\n\n{_fenced(self.file)}\n\n{self.made.wish()}"),
            _turn("assistant", _fenced(now)),
            _turn("user", self.wanted.wish()),
        )

    def expected(self) -> str:
        """What a perfect answer would be."""
        now = self.file.replace(self.made.old, self.made.new)
        return _fenced(now.replace(self.wanted.old, self.wanted.new))


def _turn(role: str, text: str) -> dict[str, str]:
    return {"role": role, "content": text}


def _fenced(text: str) -> str:
    return f"{_FENCE}{text}{_FENCE}".rstrip()


_CHECKLIST = """# Release checklist

1. Run the whole test suite on a clean checkout.
2. Update the version number in the project file.
3. Write the changes of this release into the changelog.
4. Build the packages and look at their contents.
5. Install the package into an empty environment.
6. Start the service with the default settings.
7. Ask the health page and look for errors in the log.
8. Tag the commit and push the tag.
9. Upload the packages to the index.
10. Publish the documentation of the new version.
11. Tell the users on the mailing list.
12. Close the milestone and open the next one.
"""

_NEWS = """The harbour museum opens its new wing on Saturday. Visitors can see forty ships that \
were built in this town over the last two centuries, among them the oldest fishing boat of the \
coast. The wing was paid for by the region and by many small donations from the people who live \
here.

Tickets cost eight euros for adults and four euros for children. On the first weekend nobody \
pays. The museum is open from ten in the morning until six in the evening, and on Thursdays until \
nine. Guided tours begin every hour in front of the old crane.

The director, Helen Marsh, said that the work took three years. Much of the wood had to be dried \
slowly, and two of the ships came from abroad. She thanked the carpenters, who taught a dozen \
young people their trade while they worked.
"""

_RECIPE = """# Bread for two days

You need one kilogram of flour, two spoons of salt, a small piece of yeast and a jug of warm \
water.

1. Mix the flour and the salt in a large bowl.
2. Stir the yeast into the water and wait for ten minutes.
3. Pour the water over the flour and knead the dough well.
4. Cover the bowl with a cloth and leave it alone for two hours.
5. Form two loaves and put them on a tray.
6. Heat the oven and bake the loaves for forty minutes.
7. Knock on the bread from below to hear whether it is done.
8. Let the bread cool on a rack before you cut it.
"""

EDITS = (
    Edit(
        file=_CHECKLIST,
        made=Change(old="checklist", new="plan"),
        wanted=Change(old="mailing list", new="forum"),
    ),
    Edit(
        file=_NEWS,
        made=Change(old="Saturday", new="Sunday"),
        wanted=Change(old="Helen Marsh", new="Ruth Stone"),
    ),
    Edit(
        file=_RECIPE,
        made=Change(old="two hours", new="three hours"),
        wanted=Change(old="a tray", new="a stone"),
    ),
)
