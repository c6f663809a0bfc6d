"""The documents: what they tell a reader to type, set or open exists, and is said in full."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from backend.cli.arguments import parse
from backend.protocol.errors import AppError
from backend.settings import Settings
from tests.fakes.programs import ROOT

MAIN = ROOT / "README.md"
DEPLOY = ROOT / "backend" / "deploy"
MAIN_LINES = 160
SETTINGS = {setting.name.upper(): setting.default for setting in fields(Settings)}
PROVIDERS_OWN = {"ANTHROPIC_API_KEY"}  # read by a provider's package, not by us

# What the table of settings says instead of a default that is no short value.
DEFAULTS_IN_WORDS = {
    "HOST": "every interface",
    "OPENAI_BASE_URL": "OpenAI's",
    "SYSTEM_PROMPT": "keep to the topic",
    "WORKER_METRICS_PORT": "0: none",
}


def all_documents() -> list[Path]:
    """Every document of the repository; not those of installed packages."""
    found = {MAIN, *(ROOT / "frontend").glob("*.md"), *(ROOT / "backend").rglob("*.md")}
    for below in ("", "*/", "*/*/"):
        found.update((ROOT / "tests").glob(f"{below}*.md"))
    return sorted(path for path in found if "node_modules" not in path.parts)


DOCUMENTS = all_documents()
each_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT))
)


def blocks(document: Path, *languages: str) -> Iterator[str]:
    """The code in a document that is marked as of these languages."""
    pattern = rf"^```(?:{'|'.join(languages)})\n(.*?)^```$"
    yield from re.findall(pattern, document.read_text("utf-8"), re.M | re.S)


def prose(document: Path) -> str:
    """A document without its code blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.M | re.S)


def commands(document: Path) -> list[str]:
    """What is to be typed: each line of a shell block, and each piece of code in the prose."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    return lines + re.findall(r"`([^`]+)`", prose(document))


def arguments(document: Path, program: str) -> list[list[str]]:
    """What stands behind `program` in each command that runs it."""
    pattern = rf"{re.escape(program)}(?![\w.])([^|#&;]*)"
    found = [match for command in commands(document) for match in re.findall(pattern, command)]
    return [shlex.split(each.replace("<id>", "0")) for each in found]


def sections(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", prose(document), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def rows(document: Path, heading: str) -> list[list[str]]:
    """The cells of each row of the table whose first head is this."""
    (table,) = re.findall(rf"^\| {heading} \|.*\n\|[-|]+\n((?:\|.*\n)+)", prose(document), re.M)
    return [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()]


def names(cell: str) -> list[str]:
    """Every name that stands as code in a cell."""
    return re.findall(r"`(\w+)`", cell)


def error_codes(error: type[AppError] = AppError) -> set[str]:
    """The codes of an error and of all its kinds; not of those that tests make up."""
    kinds = [kind for kind in error.__subclasses__() if kind.__module__ == AppError.__module__]
    return {error.code}.union(*map(error_codes, kinds))


@each_document
def test_every_command_of_ours_is_understood(document: Path) -> None:
    """What stands behind `python -m backend` is taken by our command line."""
    for each in arguments(document, "python -m backend"):
        parse(each)


def test_the_documents_have_commands() -> None:
    """The commands are found at all: starting, asking, and looking at what there is."""
    found = [each for path in DOCUMENTS for each in arguments(path, "python -m backend")]
    assert {parse(each).command for each in found} == {
        *("serve", "worker", "ask", "questions", "replay"),
    }
    assert len(found) >= 30


@each_document
def test_every_program_of_the_tests_is_one(document: Path) -> None:
    """A module that is to be run with `python -m tests...` exists, and can be run."""
    for name in re.findall(r"python -m (tests[\w.]*)", document.read_text("utf-8")):
        spec = importlib.util.find_spec(name)
        assert spec, name
        assert not spec.submodule_search_locations or importlib.util.find_spec(f"{name}.__main__")


@each_document
def test_every_path_given_to_a_test_runner_exists(document: Path) -> None:
    """Files and folders that pytest and npm are to be run on are in the repository."""
    paths = [each for given in arguments(document, "-m pytest") for each in given if "/" in each]
    npm = arguments(document, "npm ci") + arguments(document, "npm test")
    paths += [f"{given[given.index('--prefix') + 1]}/package.json" for given in npm]
    for path in paths:
        assert (ROOT / path).exists(), path


@each_document
def test_every_test_module_that_is_named_exists(document: Path) -> None:
    """A module that is named as the proof of something stands beside the document."""
    for name in re.findall(r"`(test_\w+\.py)`", prose(document)):
        assert list(document.parent.rglob(name)), name


@each_document
def test_every_link_leads_somewhere(document: Path) -> None:
    """A relative link leads to a file, and to a heading in it where it names one."""
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if re.match(r"\w+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), link
        assert not anchor or anchor in sections(target), link


@each_document
def test_every_variable_in_the_documents_is_one(document: Path) -> None:
    """What is to be written into a file of settings is read by our programs."""
    for block in blocks(document, "ini", "dotenv"):
        for line in block.splitlines():
            name = line.partition("=")[0]
            assert not line or line[0] == "#" or name in {*SETTINGS, *PROVIDERS_OWN}, line


def test_the_settings_of_a_deployment_are_taken() -> None:
    """What is to be written into answers.env is a configuration that a server starts with."""
    (block,) = blocks(DEPLOY / "README.md", "ini")
    settings = Settings.from_env(dict(line.split("=", 1) for line in block.splitlines()))
    assert settings.redis_url
    assert settings.openai_api_key
    assert settings.trusted_proxies


@each_document
def test_every_program_in_python_can_be_compiled(document: Path) -> None:
    """Python that is to be saved as a file is Python."""
    for block in blocks(document, "python"):
        compile(block, str(document), "exec")


def test_every_document_is_linked() -> None:
    """No document stands where nobody finds it: each is linked by another one."""
    linked = {
        (path.parent / link.partition("#")[0]).resolve()
        for path in DOCUMENTS
        for link in re.findall(r"\]\(([^)\s]+)\)", prose(path))
    }
    assert [path for path in DOCUMENTS if path not in linked] == []


def test_the_main_document_is_short() -> None:
    """The README is read to its end: all else stands beside what it describes."""
    assert len(MAIN.read_text("utf-8").splitlines()) <= MAIN_LINES


def test_every_setting_is_in_the_table() -> None:
    """The table of settings has each of them once, with its default."""
    shown: dict[str, str] = {}
    for variables, default, _ in rows(ROOT / "backend" / "README.md", "variable"):
        several = names(variables)
        defaults = default.split(", ") if ", " in default else [default] * len(several)
        for name, each in zip(several, defaults, strict=True):
            assert name not in shown, name
            shown[name] = each.strip("`")
    expected = {name: _as_written(default) for name, default in SETTINGS.items()}
    assert shown == expected | DEFAULTS_IN_WORDS


def _as_written(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)


def test_every_error_code_is_in_the_table() -> None:
    """The table of codes has every one that a client can see, and no other."""
    listed = [code for row in rows(MAIN, "code") for code in names(row[0])]
    assert sorted(listed) == sorted(error_codes())
