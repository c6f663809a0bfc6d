"""Who may import whom: the arrows between the folders of backend/ point one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import backend

BACKEND = Path(backend.__file__).parent

# Each part with what it may import besides itself. Parts are the folders, and the modules
# that stand beside them.
MAY_IMPORT = {
    "protocol": set[str](),
    "settings": {"protocol"},
    "runtime": {"protocol"},
    "store": {"protocol", "runtime", "settings"},
    "llm": {"protocol", "runtime", "settings"},
    "worker": {"llm", "protocol", "runtime", "settings", "store"},
    "server": {"protocol", "runtime", "settings", "store"},
    "app": {"llm", "protocol", "runtime", "server", "settings", "store", "worker"},
    "cli": {"app", "llm", "protocol", "runtime", "server", "settings", "store"},
    "__main__": {"cli"},
    "__init__": {"app", "runtime", "llm", "protocol", "server", "settings"},
}
MODULES = sorted(path.relative_to(BACKEND) for path in BACKEND.rglob("*.py"))


def part_of(module: Path) -> str:
    """The part that a module belongs to."""
    return module.parts[0].removesuffix(".py")


def imported(module: Path) -> Iterator[str]:
    """The parts of backend that a module imports, wherever in it."""
    package = ("backend", *module.parts[:-1])
    for node in ast.walk(ast.parse((BACKEND / module).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = [*above, *(node.module or "").split(".")] if node.module else [*above]
            names = [[*base, alias.name] for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "backend" and len(name) > 1:
                yield name[1]


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_arrows_point_one_way(module: Path) -> None:
    """No module imports what stands above it, or beside it where that is none of its business."""
    part = part_of(module)
    assert set(imported(module)) - {part} <= MAY_IMPORT[part]


def test_every_folder_says_what_it_is_for() -> None:
    """Whoever opens a folder reads in its first lines what belongs there, and what it imports."""
    for folder in {path.parts[0] for path in MODULES if len(path.parts) > 1}:
        about = ast.get_docstring(ast.parse((BACKEND / folder / "__init__.py").read_text("utf-8")))
        assert about, folder
        assert "ay import" in about, folder


@pytest.mark.parametrize("module", ["backend", "backend.llm.base", "backend.server", "backend.cli"])
def test_langchain_is_not_imported_before_it_is_needed(module: str) -> None:
    """LangChain takes a second: a server, and a client, never wait for it."""
    look = f"import sys, {module}; print(any('langchain' in name for name in sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "False"
