"""The installed package: its files, its dependencies and its command."""

import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.commands import ROOT, assert_one_sentence
from tests.support.environment import closure, python_with

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
REQUIREMENTS = (ROOT / "requirements.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built in a copy of the tree."""
    folder = tmp_path_factory.mktemp("source")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "flower_model", folder / "flower_model", ignore=ignored)
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "."]
    subprocess.run(command, cwd=folder, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def flower_model(wheel, tmp_path_factory) -> Path:
    """The `flower-model` command of an environment with the wheel and requirements.txt only."""
    environment = tmp_path_factory.mktemp("environment")
    python = python_with(REQUIREMENTS, environment)
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps"]
    subprocess.run([*pip, wheel], check=True)
    return environment / "bin" / "flower-model"


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder and capture its output."""
    words = list(map(str, command))
    return subprocess.run(words, cwd=cwd, check=False, capture_output=True, text=True)


def test_wheel_holds_every_file_of_flower_model_and_no_other_package(wheel):
    packed = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    files = (path for path in (ROOT / "flower_model").rglob("*") if path.is_file())
    assert packed == {
        path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts
    }


def test_wheel_carries_the_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)


def test_installed_command_answers_from_another_folder(
    flower_model, tiny_folder, flower_photo, label, tmp_path
):
    result = run(flower_model, flower_photo, "--model", tiny_folder, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert label in result.stdout


def test_installed_command_without_model_says_what_to_give(flower_model, flower_photo, tmp_path):
    result = run(flower_model, flower_photo, cwd=tmp_path)
    assert_one_sentence(result, "--model", "user/repo")


def test_installed_package_has_the_files_that_the_page_needs(flower_model, tmp_path):
    python = flower_model.parent / "python"
    code = "import flower_model.demo.theme, flower_model.demo.page; print(flower_model.__file__)"
    result = run(python, "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(str(flower_model.parents[1]))


@pytest.mark.parametrize(
    ("folder", "extras"),
    [("flower_model", []), ("training", ["train"]), ("tests", ["train", "dev"])],
)
def test_every_import_is_a_declared_dependency(folder, extras):
    lines = [line for line in REQUIREMENTS.splitlines() if line and not line.startswith("#")]
    lines += [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    declared = {found.name.lower() for found in closure(map(Requirement, lines))}
    declared |= {Requirement(line).name for line in PROJECT["optional-dependencies"]["ray"]}
    ours = {"flower_model", "training", "tests", "benchmarks", "app"}
    names = set.union(*map(imported_packages, (ROOT / folder).rglob("*.py")))
    installed = packages_distributions()
    missing = [
        name
        for name in sorted(names - ours - sys.stdlib_module_names)
        if not declared & {found.lower() for found in installed.get(name, [name])}
    ]
    assert missing == [], "add to requirements.txt or to an extra in pyproject.toml"


def imported_packages(path: Path) -> set[str]:
    """Return the top-level packages that a module imports anywhere in it."""
    packages = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            packages.add((node.module or "").partition(".")[0])
    return packages
