"""The documentation: its links, names, options and examples."""

import doctest
import json
import re
import shutil
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import timm
from PIL import Image

from flower_model import FlowerClassifier, ImageError
from flower_model.config import read_config
from flower_model.photos.decode import open_image
from flower_model.runtimes.openvino_loading import load_openvino
from flower_model.serialization.digest import folder_digest
from tests.support.commands import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}


def modules() -> list[str]:
    """Return the paths of the project's modules."""
    files = [path for name in ("flower_model", "training") for path in (ROOT / name).rglob("*.py")]
    return ["app.py", *sorted(path.relative_to(ROOT).as_posix() for path in files)]


page = pytest.mark.parametrize("name", TEXTS)


def test_readme_has_at_most_800_words():
    assert len(TEXTS["README.md"].split()) <= 800


@page
def test_relative_links_lead_to_files_and_headings(name):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / name).parent / path if path else ROOT / name
        if not file.exists() or (anchor and anchor not in headings(file)):
            broken.append(target)
    assert broken == []


@page
def test_every_path_named_in_the_text_exists(name):
    paths = re.findall(
        r"(?<![\w/.])(?:flower_model|training|tests|benchmarks|docs)/[\w/.-]*\w", TEXTS[name]
    )
    assert [path for path in paths if not (ROOT / path).exists()] == []


@page
def test_every_module_named_in_the_text_exists(name):
    missing = []
    for module in re.findall(
        r"(?:python -m |-m |`)((?:training|benchmarks)[.][\w.]*\w)", TEXTS[name]
    ):
        if find_spec(module) is None and not has_attribute(*module.rpartition(".")[::2]):
            missing.append(module)
    assert missing == []


@pytest.mark.slow
@page
def test_every_option_in_an_example_exists(name):
    unknown = []
    for module, options in example_commands(TEXTS[name]):
        known = options_of(module)
        unknown += [f"{module} {option}" for option in options if option not in known]
    assert unknown == []


def test_places_named_in_architecture_define_what_they_name():
    rows = re.findall(r"\| `([\w.]+)` in \[`([\w/]+)\.py`\]", TEXTS["docs/architecture.md"])
    assert len(rows) >= 5
    for name, path in rows:
        value = import_module(path.replace("/", "."))
        for part in name.split("."):
            value = getattr(value, part)


def test_file_tree_lists_modules_that_exist():
    tree = TEXTS["docs/architecture.md"].partition("```text\n")[2].partition("```")[0]
    folders: list[str] = []
    listed = []
    for line in tree.splitlines():
        entry = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [entry.rstrip("/")]
        if not entry.endswith("/"):
            listed.append("/".join(folders))
    assert [path for path in listed if path not in modules()] == []
    assert len(listed) == len(set(listed)) > 100


def test_recipes_in_the_documentation_are_those_in_the_folder():
    text = TEXTS["docs/training.md"]
    table = text.partition("| recipe |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([\w-]+)`", table))
    assert named == {path.stem for path in (ROOT / "training" / "recipes").glob("*.toml")}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["README.md", "docs/cli.md"])
def test_python_examples_run(name, workplace):
    for code, printed in re.findall(
        r"```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", TEXTS[name], re.DOTALL
    ):
        command = [sys.executable, "-c", code]
        result = subprocess.run(command, cwd=workplace, check=False, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        if printed:
            assert_same_answer(result.stdout, printed)


@pytest.mark.slow
def test_command_in_the_readme_prints_what_it_shows(workplace):
    shown = re.search(r"```console\n\$ flower-model (.*?)\n(.*?)```", TEXTS["README.md"], re.DOTALL)
    assert shown
    command = [sys.executable, "-m", "flower_model", *shown[1].split()]
    result = subprocess.run(command, cwd=workplace, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert_same_answer(result.stdout, shown[2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [path for path in modules() if ">>> " in (ROOT / path).read_text()]
)
def test_docstring_examples_run(name, workplace, shipped_model, monkeypatch):
    monkeypatch.chdir(workplace)
    module = import_module(name.removesuffix(".py").removesuffix("/__init__").replace("/", "."))
    names = {
        "model": shipped_model,
        "photo": "photo.jpg",
        "photos": ["photo.jpg"],
        "notice": RuntimeError,
        **{
            function.__name__: function
            for function in (open_image, load_openvino, read_config, folder_digest)
        },
        "Image": Image,
        "ImageError": ImageError,
        "Path": Path,
        "np": np,
        "timm": timm,
    }
    runner = doctest.DocTestRunner(AnyOutputIfNoneIsShown(), optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder().find(module):
        test.globs = names | test.globs
        test.examples = [e for e in test.examples if "push_to_hub" not in e.source]  # see tests/hub
        runner.run(test)
    assert runner.summarize().failed == 0


class AnyOutputIfNoneIsShown(doctest.OutputChecker):
    """Accepts the value of a statement for which an example shows no output."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return not want or super().check_output(want, got, optionflags)


def test_python_example_of_the_api_runs(served, flower_photo, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", TEXTS["docs/serving.md"], re.DOTALL)
    shutil.copy(flower_photo, tmp_path / "photo.jpg")
    code = code.replace("http://127.0.0.1:7860", served.url) + "\nprint(answer, answers)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "probability" in result.stdout


def test_curl_example_of_the_api_runs(served, flower_photo, tmp_path):
    (code,) = re.findall(r"```bash\n(curl .*?)```", TEXTS["docs/serving.md"], re.DOTALL)
    assert code.strip() in TEXTS["README.md"]
    shutil.copy(flower_photo, tmp_path / "photo.jpg")
    command = ["bash", "-ec", code.replace("http://127.0.0.1:7860", served.url.rstrip("/"))]
    result = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert json.loads(result.stdout)["label"], result


@pytest.fixture(scope="module")
def phone_photo(flower_photo, tmp_path_factory) -> Path:
    """A photo of 12 megapixels."""
    path = tmp_path_factory.mktemp("phone") / "phone.jpg"
    Image.open(flower_photo).resize((4000, 3000)).save(path)
    return path


@pytest.fixture(scope="module")
def shipped_model() -> FlowerClassifier:
    return FlowerClassifier.from_pretrained(ROOT / "weights")


@pytest.fixture
def workplace(flower_photo, phone_photo, tmp_path) -> Path:
    """A folder with photos, the shipped weights and the package."""
    for name in ("photo.jpg", "one.jpg", "photos/a.jpg", "album/a.png", "album/b/c.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(flower_photo, tmp_path / name)
    shutil.copy(phone_photo, tmp_path)
    for name in ("weights", "flower_model"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def assert_same_answer(printed: str, shown: str) -> None:
    """Check that two answers have the same first label; probabilities vary with the processor."""
    words = [re.sub(r"\d+[.]\d+%?", "#", text).split() for text in (printed, shown)]
    assert words[0][: words[0].index("#")] == words[1][: words[1].index("#")]
    for number, expected in zip(
        *(re.findall(r"\d+[.]\d+", t) for t in (printed, shown)), strict=True
    ):
        scale = 100 if "%" in shown else 1
        assert abs(float(number) - float(expected)) < 0.05 * scale


def headings(file: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def has_attribute(module: str, name: str) -> bool:
    """Return whether a module exists and defines a name."""
    try:
        return find_spec(module) is not None and hasattr(import_module(module), name)
    except ModuleNotFoundError:
        return False


def example_commands(text: str) -> list[tuple[str, list[str]]]:
    """Return the (module, options) of every command of this project in a page."""
    text = text.replace("\\\n", " ")
    found = re.findall(
        r"(?:python (app\.py)|python -m ((?:training|flower_model)[\w.]*)|(flower-model)) ([^`|\n]*)",
        text,
    )
    commands = []
    for script, module, command, words in found:
        words = words.partition("#")[0].partition("&&")[0]
        name = script or module or ("flower_model" if command else "")
        commands.append((name, re.findall(r"(?<![\w-])--[a-z][\w-]*", words)))
    return [(name, options) for name, options in commands if options]


@cache
def options_of(module: str) -> set[str]:
    """Return the options in a command's help."""
    start = [module] if module.endswith(".py") else ["-m", module]
    command = [sys.executable, *start, "--help"]
    text = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", text))
