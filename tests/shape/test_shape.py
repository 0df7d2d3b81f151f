"""The shape of the source: sizes, names, docstrings, promises. The list of exceptions only shrinks."""

import ast
import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "shoal"
MODULES = sorted(SOURCE.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MODULE_LINES, FUNCTION_LINES, SELF_EVIDENT_LINES = 400, 60, 8
FORBIDDEN_NAMES = re.compile(r"(^|_)(utils?|helpers?|managers?|base|misc|common)(_|$)")
PROMISES = re.compile(r"\b(TODO|FIXME|XXX|HACK|raise NotImplementedError)\b")
NAMED_BY_OTHERS = dir(asyncio.Protocol)  # what asyncio calls needs no words of ours
# path, or path:function -> why it may be longer than the limit; remove a line when it no longer needs one
LONGER: dict[str, str] = {}

type_of_function = (ast.FunctionDef, ast.AsyncFunctionDef)


def name(path: Path) -> str:
    """A module as the reader knows it: its path below the package."""
    return path.relative_to(SOURCE).as_posix()


def tree(path: Path) -> ast.Module:
    """The module, parsed."""
    return ast.parse(path.read_text("utf-8"))


def functions(path: Path) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function and method of a module, nested ones too, named path:function."""
    for node in ast.walk(tree(path)):
        if isinstance(node, type_of_function):
            yield f"{name(path)}:{node.name}", node


def too_long() -> dict[str, int]:
    """What exceeds the limits, with its length in lines (a function's without its decorators)."""
    found = {name(path): len(path.read_text("utf-8").splitlines()) for path in MODULES}
    long = {key: lines for key, lines in found.items() if lines > MODULE_LINES}
    for path in MODULES:
        for key, node in functions(path):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                long[key] = lines
    return long


def test_modules_and_functions_are_short() -> None:
    assert {key: lines for key, lines in too_long().items() if key not in LONGER} == {}


def test_every_exception_is_still_needed() -> None:
    assert set(LONGER) - set(too_long()) == set()


def test_packages_are_maps() -> None:
    """An __init__ holds a docstring and, in the top one, the version: nothing to import by accident."""
    for path in SOURCE.rglob("__init__.py"):
        body = tree(path).body
        assert ast.get_docstring(tree(path)), f"{name(path)}: no docstring that maps the package"
        rest = [node for node in body[1:] if not (path.parent == SOURCE and ast.unparse(node).startswith("__version__"))]
        assert rest == [], f"{name(path)}: more than a docstring"


def test_every_folder_with_modules_is_a_package() -> None:
    assert [name(path.parent) for path in MODULES if not path.with_name("__init__.py").exists()] == []


def test_names_are_nouns() -> None:
    stems = {name(path): path.stem for path in MODULES} | {f"{name(path.parent)}/": path.parent.name for path in MODULES}
    assert [key for key, stem in stems.items() if FORBIDDEN_NAMES.search(stem)] == []


def undocumented(path: Path) -> Iterator[str]:
    """Public functions and classes, and public methods of some length, without a docstring."""
    for node in tree(path).body:
        if not isinstance(node, (ast.ClassDef, *type_of_function)) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{name(path)}:{node.name}"
        for method in node.body if isinstance(node, ast.ClassDef) else []:
            if not isinstance(method, type_of_function) or method.name.startswith(("_", "on_")) or ast.get_docstring(method):
                continue
            if (method.end_lineno or 0) - method.lineno > SELF_EVIDENT_LINES and method.name not in NAMED_BY_OTHERS:
                yield f"{name(path)}:{node.name}.{method.name}"


def test_what_is_public_is_documented() -> None:
    assert [missing for path in MODULES for missing in undocumented(path)] == []


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_says_why_it_exists(path: Path) -> None:
    docstring = ast.get_docstring(tree(path))
    assert docstring
    if path.name != "__init__.py":
        assert len(docstring.splitlines()) <= 8


def test_nothing_is_promised() -> None:
    """What is not there is an issue, not a comment."""
    here = Path(__file__)
    places = [path for path in [*MODULES, *TESTS] if path != here and PROMISES.search(path.read_text("utf-8"))]
    assert places == []


def swallows(handler: ast.ExceptHandler) -> bool:
    """`except:` or `except Exception:` (or wider) whose body does nothing."""
    wide = handler.type is None or ast.unparse(handler.type) in ("Exception", "BaseException")
    return wide and all(isinstance(node, ast.Pass | ast.Continue) for node in handler.body)


def test_no_exception_vanishes() -> None:
    found = [
        f"{name(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler) and swallows(node)
    ]
    assert found == []


def test_the_layers_hold() -> None:
    """`lint-imports` reads the contracts in pyproject.toml; a package that no layer names fails too."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-logo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
