"""The documentation: it builds without a warning, and what it says about the code is true."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PLACE = "…"


# ---- messages --------------------------------------------------------------------------


def documented_messages() -> list[str]:
    """First column of the tables of docs/troubleshooting.md."""
    text = (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    cells = re.findall(r"(?m)^\| `((?:[^`])+)` \|", text)
    return [cell.replace(r"\|", "|") for cell in cells]


def messages_of_python() -> list[str]:
    """Every text in the package, with its variable parts as `PLACE`."""
    found = []
    for path in (ROOT / "cascade_asr").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [each.value if isinstance(each, ast.Constant) else PLACE for each in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[sd]", PLACE, node.value))
    return found


def messages_of_bash() -> list[str]:
    """Arguments of ``die`` in the scripts, joined as the shell does."""
    found = []
    for path in (ROOT / "utils").glob("*.sh"):
        text = path.read_text(encoding="utf-8").replace('" \\\n', '"\n')
        for match in re.finditer(r'\bdie ((?:"[^"]*"\s*)+)', text):
            found.append(" ".join(re.findall(r'"([^"]*)"', match[1])))
    return found


def occurs(message: str, sources: list[str]) -> bool:
    """Whether one source has all fixed words of a message, in order."""
    parts = message.split(PLACE)
    return any(in_order(parts, source) for source in sources if max(parts, key=len) in source)


def in_order(parts: list[str], source: str) -> bool:
    place = 0
    for part in parts:
        found = source.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return True


@pytest.fixture(scope="module")
def sources() -> list[str]:
    return messages_of_python() + messages_of_bash()


def test_every_message_of_the_troubleshooting_page_is_in_the_code(sources):
    messages = documented_messages()
    assert len(messages) == len(set(messages)) >= 30
    assert [each for each in messages if not occurs(each, sources)] == []
    for each in messages:  # fixed words enough to find it by
        assert max(len(part.strip()) for part in each.split(PLACE)) >= 12, each


def test_a_message_that_is_not_in_the_code_is_noticed(sources):
    assert not occurs("…: damaged checkpoint (…); delete it to train again", sources)
    assert not occurs("this message does not exist", sources)


# ---- examples --------------------------------------------------------------------------


def modules_with_examples() -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in sorted((ROOT / "cascade_asr").rglob("*.py"))
        if ">>> " in path.read_text(encoding="utf-8")
    ]


def test_examples_of_docstrings_print_what_they_say(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attempted = 0
    for name in modules_with_examples():
        result = doctest.testmod(importlib.import_module(name.removesuffix(".__init__")))
        assert result.failed == 0, name
        attempted += result.attempted
    assert attempted >= 30


def test_the_encoder_of_the_documentation_is_one():
    text = (DOCS / "extending.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n# cascade_asr/networks/encoders/gated.py\n(.*?)```", text, re.S)
    space: dict = {}
    exec(compile(example, "extending.md", "exec"), space)
    torch.manual_seed(0)
    encoder = space["GatedEncoder"](input_size=4, output_size=8).eval()
    features, lengths = torch.randn(2, 9, 4), torch.tensor([9, 5])
    output, output_lengths = encoder(features, lengths)
    assert output.shape == (2, 4, 8) and output_lengths.tolist() == [4, 2]
    alone, _ = encoder(features[1:, :5], lengths[1:])
    torch.testing.assert_close(alone[0], output[1, :2])
    assert output[1, 2:].abs().sum() == 0
    owned = [name for layer in encoder.layers() for name in layer.parameters]
    assert sorted(owned) == sorted(name for name, _ in encoder.named_parameters())
    assert encoder.output_size() == 8 and encoder.classifier_layers() == []


def test_commands_that_pages_name_exist():
    help_text = subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.main", "--help"], cwd=ROOT, capture_output=True,
        text=True, check=True,
    ).stdout  # fmt: skip
    known = set(re.findall(r"(?m)^  ([a-z0-9-]+) ", help_text))
    for path in (*DOCS.glob("*.md"), ROOT / "CONTRIBUTING.md"):
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"(?m)(?:^|`|\()cascade-asr ([a-z][a-z0-9-]*)", text):
            assert name in known, f"{path}: cascade-asr {name}"
        for module in re.findall(r"python -m cascade_asr\.cli\.(\w+)", text):
            assert (ROOT / f"cascade_asr/cli/{module}.py").is_file(), f"{path}: {module}"


def test_later_calls_of_a_page_need_no_options_of_earlier_ones():
    tutorial = (DOCS / "tutorial.md").read_text(encoding="utf-8")
    calls = re.findall(r"\./run\.sh( --[^`\n]+)", tutorial)
    assert len(calls) > 4
    for call in calls:  # stage 0 needs to know where the corpus is
        assert "--corpus" in call or re.search(r"--stage [3-6]", call), call
    imported = (DOCS / "cascade.md").read_text(encoding="utf-8").split("## From and to ESPnet2")[1]
    assert len(calls := re.findall(r"(?m)^\./run\.sh (.+)", imported)) == 2
    assert all("--token-list MODEL/config.yaml" in call for call in calls)


def test_files_that_pages_name_exist():
    folders = ("cascade_asr/", "tests/", "utils/", "conf/plans/", "bench/", "egs/digits", "docs/")
    made_up = {"cascade_asr/networks/encoders/gated.py"}
    for path in (*DOCS.glob("*.md"), ROOT / "CONTRIBUTING.md"):
        for name in re.findall(r"`([\w./-]+)`", path.read_text(encoding="utf-8")):
            if name.startswith(folders) and name not in made_up and "exp" not in name:
                assert (ROOT / name).exists(), f"{path}: {name}"


# ---- the site --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a warning fails it."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Page(HTMLParser):
    """Addresses in a page, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = {name: value or "" for name, value in attributes}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif "src" in values:
            self.loaded.append(values["src"])
        elif tag == "link":
            self.loaded.append(values.get("href", ""))


def test_every_page_of_the_navigation_is_built_and_every_link_leads_somewhere(site):
    pages = {path: Page(path) for path in site.rglob("*.html")}
    for path, page in pages.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link) or path.name == "404.html":
                continue
            target, _, anchor = link.partition("#")
            aim = (path.parent / target).resolve() if target else path
            assert aim.exists(), f"{path}: {link}"
            if anchor and aim in pages:
                assert anchor in pages[aim].anchors, f"{path}: {link}"
    built = {str(path.relative_to(site)) for path in pages}
    there = {f"{path.stem}.html" for path in DOCS.glob("*.md")}
    recipes = {f"recipes/{path.parent.name}.html" for path in ROOT.glob("egs/*/README.md")}
    assert there | recipes | {"contributing.html"} <= built


def test_pages_load_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        outside = [each for each in Page(path).loaded if re.match(r"(https?:)?//", each)]
        assert outside == [], path


def test_the_reference_has_what_users_import(site):
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in ("cascade_asr.library.cascade.Cascade", "cascade_asr.scoring.significance.compare",
                 "cascade_asr.training.freezing.freeze"):  # fmt: skip
        assert f'id="{name}"' in text, name


def test_citation_and_contributing_are_valid():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0" and citation["title"] == "cascade_asr"
    assert {"message", "authors", "license", "version"} <= citation.keys()
    version = re.search(r'__version__ = "(.+)"', (ROOT / "cascade_asr/version.py").read_text())[1]
    assert citation["version"] == version
    assert "tests/run.sh" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
