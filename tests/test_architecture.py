"""What the design promises about the code itself: who imports whom, what is documented, what may not stand anywhere."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT

JOBS_LAYERS: list[set[str]] = [
    {"errors", "events", "locks", "masking", "references", "figures"},
    {"tables", "charts", "checkpoint"},
    {"parameters"},
    {"runs", "settings", "bus", "progress", "registry"},
    {"capture"},
    {"store", "execution"},
    {"inputs"},
    {"recorder", "isolation", "launch", "recovery"},
    {"runner"},
    {"supervisor"},
]
"""Lowest first: a module imports from the layers below its own, never beside or above."""
WEB_LAYERS: list[set[str]] = [
    {
        "frame",
        "offhub",
        "wording",
        "broadcast",
        "slots",
        "securityheaders",
        "launchbody",
        "markdown",
        "resultpart",
    },
    {"accesslog", "auth", "board", "forms", "schemas", "story", "resultview", "rowfile", "connection"},
    {"feed", "address", "choices", "takeover", "acceptor"},
    {"lifetime", "reader", "answer", "streamform"},
    {"stream"},
    {"overview", "shortcut", "longpoll"},
    {"api", "pages", "errors"},
]
AUTHORS_DOOR = {"checkpoint", "errors", "parameters", "progress", "registry", "figures", "charts", "tables"}
"""What ``jobs/__init__.py`` gives to the authors of jobs."""
FRAMEWORKS = {
    "flask",
    "werkzeug",
    "jinja2",
    "gevent",
    "greenlet",
    "gunicorn",
    "flask_smorest",
    "webargs",
    "itsdangerous",
}
NAMES_THAT_TELL_NOTHING = {
    "utils", "util", "helpers", "helper", "managers", "manager", "services", "service", "common", "misc",
    "base", "core",
}  # fmt: skip


def modules(package: str) -> dict[str, Path]:
    """The modules of a package by their name inside it; a folder with a few that belong together is one of them."""
    found = {path.stem: path for path in sorted((ROOT / package).glob("*.py"))}
    folders = {path.parent.name: path.parent for path in sorted((ROOT / package).glob("*/__init__.py"))}
    folders.pop("library", None)  # jobs, which have rules of their own below
    return found | folders


def imported(path: Path) -> set[str]:
    """The full names of the modules that a file imports, anywhere in it but under TYPE_CHECKING."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            node.body = []
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are written in full"
            found |= {_module(node.module or "", alias.name) for alias in node.names}
    return found


def _module(package: str, name: str) -> str:
    """``from jobs import errors`` imports jobs.errors; ``from jobs import job`` imports jobs."""
    inside = ROOT.joinpath(*package.split("."), name)
    is_module = inside.with_suffix(".py").exists() or (inside / "__init__.py").exists()
    return f"{package}.{name}" if is_module else package


def ours(path: Path, package: str) -> set[str]:
    """The modules of that package that a file, or any file of a folder, imports, by their names inside it."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    names = {name for file in files for name in imported(file) if name.split(".")[0] == package}
    return {".".join(name.split(".")[1:2]) or package for name in names} - ({path.name} if path.is_dir() else set())


def python_files(*folders: str) -> list[Path]:
    """All Python files below these folders."""
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def shown(path: Path) -> str:
    """A path as a test's id."""
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(("package", "layers"), [("jobs", JOBS_LAYERS), ("web", WEB_LAYERS)])
def test_imports_point_downwards(package: str, layers: list[set[str]]) -> None:
    found = modules(package)
    assert set().union(*layers) == found.keys() - {"__init__"}, "every module has its layer"
    below: set[str] = set()
    for layer in layers:
        for name in layer:
            upwards = ours(found[name], package) - below
            assert not upwards, f"{package}/{name}.py imports {upwards}, which is not below it"
        below |= layer


def test_the_doors_import_only_what_they_give() -> None:
    assert ours(ROOT / "jobs" / "__init__.py", "jobs") == AUTHORS_DOOR
    assert imported(ROOT / "web" / "__init__.py") == set()


@pytest.mark.parametrize("path", python_files("jobs"), ids=shown)
def test_jobs_know_no_web_and_no_framework(path: Path) -> None:
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & ({"web", "app", "wsgi", "tests", "benchmarks"} | FRAMEWORKS)


def test_importing_all_of_jobs_loads_no_framework() -> None:
    """Also by no detour through a library."""
    names = [f"jobs.{name}" for name in modules("jobs") if name != "__init__"]
    code = (
        f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print(sorted({FRAMEWORKS - {'werkzeug', 'jinja2'}!r} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.parametrize("path", python_files("jobs/library"), ids=shown)
def test_jobs_of_the_library_use_the_authors_door(path: Path) -> None:
    assert {name for name in ours(path, "jobs") if not name.startswith("library")} <= {"jobs"}


@pytest.mark.parametrize("path", python_files("web"), ids=shown)
def test_the_web_does_not_import_what_wires_it(path: Path) -> None:
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {"app", "wsgi", "tests", "benchmarks"}


def test_no_file_has_a_name_that_tells_nothing() -> None:
    files = [path for path in python_files("jobs", "web", "tests") + sorted((ROOT / "static").rglob("*.js"))]
    assert [shown(path) for path in files if path.stem.lower() in NAMES_THAT_TELL_NOTHING] == []


PUBLIC = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def undocumented(tree: ast.Module) -> list[str]:
    """The public functions, classes and methods without a docstring (``Meta`` is marshmallow's)."""
    missing = []

    def look(nodes: list[ast.stmt], prefix: str) -> None:
        for node in nodes:
            if isinstance(node, PUBLIC) and not node.name.startswith("_") and node.name != "Meta":
                overload = any("overload" in ast.unparse(one) for one in node.decorator_list)
                if not overload and not (ast.get_docstring(node) or "").strip():
                    missing.append(prefix + node.name)
                if isinstance(node, ast.ClassDef):
                    look(node.body, f"{prefix}{node.name}.")

    look(tree.body, "")
    return missing


@pytest.mark.parametrize("path", [*python_files("jobs", "web"), ROOT / "app.py", ROOT / "wsgi.py"], ids=shown)
def test_what_others_call_has_a_docstring(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the module"
    assert undocumented(tree) == []


def written_files() -> list[Path]:
    """Every file under version control that people write, as text."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in paths if path.suffix not in (".png", ".svg", ".ico", ".woff2") and path.is_file()]


def test_no_file_names_a_path_of_the_machine_that_it_was_written_on() -> None:
    here = re.compile(rf"{re.escape(str(ROOT))}\b|{re.escape(str(Path.home()))}/|\.\./shared/")
    found = [
        f"{shown(path)}: {hit[0]}" for path in written_files() if (hit := here.search(path.read_text(errors="replace")))
    ]
    found = [one for one in found if not one.startswith("tests/test_architecture.py")]
    assert found == []


def test_nothing_is_left_to_be_done_in_the_code() -> None:
    word = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    code = [
        path for path in written_files() if path.suffix in (".py", ".js", ".html", ".css") and path.parts[-2] != "tests"
    ]
    assert [shown(path) for path in code if word.search(path.read_text())] == []


def test_sql_is_never_made_of_text() -> None:
    """Bound parameters only; a PRAGMA takes none, and its values are constants of the code."""
    verbs = re.compile(r"\b(SELECT .+ FROM|INSERT INTO|UPDATE \w+ SET|DELETE FROM)\b")
    for path in python_files("jobs", "web"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                assert not verbs.search(ast.unparse(node)), f"{shown(path)}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("sa.text", "literal_column")):
                raise AssertionError(f"{shown(path)}:{node.lineno}")


def test_nothing_is_pickled() -> None:
    for path in python_files("jobs", "web"):
        assert not {name.split(".")[0] for name in imported(path)} & {"pickle", "marshal", "shelve", "joblib", "dill"}
