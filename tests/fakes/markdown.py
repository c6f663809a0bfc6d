"""Answers in Markdown, as language models write them, and as nobody should."""

import itertools
from collections.abc import Callable, Iterator

_WORDS = (
    "a stream keeps its entries in order and every reader goes on where it was when the server "
    "writes another one so that nothing is lost between two of them even if a process ends"
).split()
_MARKED = (
    "**in bold**",
    "*with care*",
    "`XREADGROUP`",
    "[documented](https://example.org/streams)",
)


def answer(chars: int) -> str:
    """An answer with headings, paragraphs, lists, tables and code, just over so many characters."""
    parts: list[str] = []
    length = 0
    for number, write in enumerate(itertools.cycle(_BLOCKS), 1):
        parts.append(write(number))
        length += len(parts[-1]) + 2
        if length >= chars:
            break
    return "\n\n".join(parts)


def pieces(text: str, chars: int) -> list[str]:
    """The text cut into pieces of so many characters, wherever that is."""
    return [text[at : at + chars] for at in range(0, len(text), chars)]


def repeated(unit: str) -> Callable[[int], str]:
    """A text that says one thing again and again, up to so many characters."""
    return lambda chars: (unit * (chars // len(unit) + 1))[:chars]


def _words(number: int, count: int) -> list[str]:
    return [_WORDS[(number * 7 + word * (5 + number % 3)) % len(_WORDS)] for word in range(count)]


def _sentence(number: int) -> str:
    words = _words(number, 6 + number % 12)
    words[number % len(words)] = _MARKED[number % len(_MARKED)]
    return f"So {' '.join(words)}."


def _sentences(number: int, count: int) -> list[str]:
    return [_sentence(number * 31 + sentence) for sentence in range(count)]


def _heading(number: int) -> str:
    return f"## {number}. {' '.join(_words(number, 4)).capitalize()}"


def _paragraph(number: int) -> str:
    return " ".join(_sentences(number, 3 + number % 4))


def _bullets(number: int) -> str:
    return "\n".join(f"- {sentence}" for sentence in _sentences(number, 4 + number % 5))


def _steps(number: int) -> str:
    first, second = _sentences(number, 2)
    return "\n".join(f"{step}. {first}\n   - {second}" for step in range(1, 5 + number % 3))


def _table(number: int) -> str:
    rows = [
        f"| `{_words(number + row, 1)[0].upper()}` | {number * row} | {_sentence(number + row)} |"
        for row in range(4 + number % 5)
    ]
    return "\n".join(["| Command | Cost | What it does |", "|:--|--:|---|", *rows])


def _code(number: int) -> str:
    lines = [
        f"    {word}_{line} = read('{word}', {line})  # {line}"
        for line, word in enumerate(_words(number, 8 + number % 18))
    ]
    return "\n".join([f"```python\ndef step_{number}(stream: str) -> int:", *lines, "```"])


_BLOCKS = (_heading, _paragraph, _bullets, _paragraph, _code, _steps, _paragraph, _table)


def _table_of(chars: int) -> str:
    return "| a | b | c |\n|---|---|---|\n" + repeated("| one | **two** | `three` |\n")(chars)


def _nested_list(chars: int) -> str:
    lines: Iterator[str] = (f"{'  ' * depth}- level {depth}\n" for depth in itertools.count())
    text = ""
    while len(text) < chars:
        text += next(lines)
    return text


def _one_item(chars: int) -> str:
    return "- the item\n" + repeated("  goes on in **another** line, and another\n")(chars)


# An answer of one block that never ends, or one made to be slow; each of so many characters.
WORST: dict[str, Callable[[int], str]] = {
    "one paragraph": repeated("A sentence with **bold** words and `code`, and so on. "),
    "one line of letters": repeated("a"),
    "one list": repeated("- an item with **bold** words and `code`\n"),
    "one item": _one_item,
    "one table": _table_of,
    "one code block": lambda chars: (
        "```python\n" + repeated("value = read('key', 1)  # on\n")(chars)
    ),
    "one line of code": lambda chars: "```python\n" + repeated("value = [1, 2, 3]; ")(chars),
    "one quote": repeated("> a line of a quote with **bold** words\n"),
    "nested list": _nested_list,
    "nested quotes": lambda chars: repeated("> ")(chars),
    "nested markers": repeated("- 1. > "),
    "asterisks": repeated("*"),
    "brackets": repeated("["),
    "closed brackets": lambda chars: "[" * (chars // 2) + "](b)" * (chars // 8),
    "open emphasis": repeated("**a *b "),
    "underscores": repeated("_a__"),
    "backticks": repeated("`a``b```"),
    "half links": repeated("[a](b"),
    "tags": repeated("<a href='"),
    "pipes": repeated("|a"),
    "definitions": lambda chars: "".join(f"[{n}]: http://a.b\n" for n in range(chars // 18)),
    "blank lines": repeated("\n"),
}
