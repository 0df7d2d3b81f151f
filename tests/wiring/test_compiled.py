"""What may be compiled, that nothing stale is ever used, and that a module runs through the launcher as it does without."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shoal.wiring import compiled

PACKAGE = compiled.SOURCE / "shoal"
FILES = {PACKAGE / f"{name.replace('.', '/')}.py" for name in compiled.MODULES}


def classes(path: Path) -> Iterator[tuple[str, set[str]]]:
    """Every class of a module with its bases, without the modules that these are from."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ClassDef):
            yield node.name, {ast.unparse(one).rpartition(".")[2] for one in node.bases}


def test_what_is_compiled_exists_and_holds_no_structs() -> None:
    assert {path.name: name for path in FILES for name, bases in classes(path) if "Struct" in bases} == {}


def test_no_interpreted_class_is_derived_from_a_compiled_one() -> None:
    ours = {name for path in FILES for name, _ in classes(path)}
    others = (path for path in PACKAGE.rglob("*.py") if path not in FILES)
    assert {f"{path.name}: {name}": bases & ours for path in others for name, bases in classes(path) if bases & ours} == {}


def tree(root: Path) -> Path:
    """A checkout with one module."""
    (root / "src/shoal/net").mkdir(parents=True)
    (root / "src/shoal/net/run.py").write_text("one = 1\n")
    return root / "src"


def test_any_change_of_the_sources_leads_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "SOURCE", tree(tmp_path))
    where = compiled.directory.__wrapped__
    before, module = where(), tmp_path / "src/shoal/net/run.py"
    assert (where(), before.parent) == (before, tmp_path / "build")
    module.write_text("one = 2\n")
    assert where() != before
    module.write_text("one = 1\n")
    assert where() == before
    module.rename(module.with_name("ran.py"))
    assert where() != before


@pytest.mark.parametrize(("wish", "is_used"), [("1", True), (None, True), ("0", False)])
def test_what_has_been_compiled_is_used_unless_it_is_not_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wish: str | None, is_used: bool
) -> None:
    monkeypatch.setattr(compiled, "directory", lambda: tmp_path / "compiled")
    monkeypatch.delenv("SHOAL_COMPILED", raising=False)
    if wish is not None:
        monkeypatch.setenv("SHOAL_COMPILED", wish)
    assert not compiled.is_there()
    (tmp_path / "compiled").mkdir()
    assert compiled.is_there() is is_used


def test_compiled_modules_are_found_by_their_names(tmp_path: Path) -> None:
    files = {"shoal.net.run": tmp_path / f"shoal/net/run{compiled.SUFFIX}", "shoal__mypyc": tmp_path / f"shoal__mypyc{compiled.SUFFIX}"}
    files["shoal.net.run"].parent.mkdir(parents=True)
    for file in files.values():
        file.touch()
    finder = compiled.Finder(tmp_path)
    found = {name: finder.find_spec(name, None) for name in files}
    assert {name: spec and spec.origin for name, spec in found.items()} == {name: str(file) for name, file in files.items()}
    assert finder.find_spec("shoal.net.head", None) is None


def test_a_module_runs_with_its_arguments(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shoal.wiring.compiled", "shoal.wiring.worker", "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: shoal.wiring.worker ")
