"""Which stream an answer is written to: one for all, one for each user, or one for each question.

Pure. The name is chosen once, when the question is asked, and stands in its
record; whoever reads or writes the answer later takes it from there.
"""

import re
from dataclasses import dataclass

_PLACEHOLDER = re.compile(r"\{(\w*)\}")
_KNOWN = {"questionId", "userId"}


@dataclass(frozen=True, slots=True)
class StreamNames:
    """The pattern of stream names: text in which {userId} and {questionId} may stand.

    Raises ValueError where there are other braces in it.
    """

    pattern: str

    def __post_init__(self) -> None:
        unknown = set(_PLACEHOLDER.findall(self.pattern)) - _KNOWN
        if unknown or re.search(r"[{}]", _PLACEHOLDER.sub("", self.pattern)):
            raise ValueError("only {questionId} and {userId} may stand in braces")

    @property
    def shared(self) -> str | None:
        """The one stream of all answers; None where there are many."""
        return None if _PLACEHOLDER.search(self.pattern) else self.pattern

    def name(self, question_id: str, user_id: str) -> str:
        """The stream of this user's question."""
        return self.pattern.replace("{questionId}", question_id).replace("{userId}", user_id)


def is_own(stream: str, question_id: str) -> bool:
    """Whether a stream belongs to this question alone, so that all of it is the answer."""
    return question_id in stream
