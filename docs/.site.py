"""What MkDocs needs beside the pages: READMEs of recipes as pages, and links out of docs/.

A link to a file of the clone that is no page becomes its path in code type; the clone has
it, and the site stays complete wherever it lies. A page of the navigation that is not
there is left out.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
OTHERS = {f"egs/{each.parent.name}/README.md": f"recipes/{each.parent.name}.md"
          for each in sorted(ROOT.glob("egs/*/README.md"))}  # fmt: skip
OTHERS["CONTRIBUTING.md"] = "contributing.md"
LINK = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.S)


def on_config(config: Any) -> Any:
    """Leave out of the navigation what is not there."""
    there = {str(each.relative_to(ROOT / "docs")) for each in (ROOT / "docs").rglob("*.md")}
    config["nav"] = _present(config["nav"], there | set(OTHERS.values()))
    return config


def _present(entries: list[Any], there: set[str]) -> list[Any]:
    kept = []
    for entry in entries:
        ((title, target),) = entry.items()
        if isinstance(target, list):
            kept.append({title: _present(target, there)})
        elif target in there:
            kept.append(entry)
    return kept


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that lie elsewhere in the clone."""
    for source, page in OTHERS.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to pages, and nowhere else but to the web."""
    here = next(
        (source for source, each in OTHERS.items() if each == page.file.src_uri),
        f"docs/{page.file.src_uri}",
    )
    kept = [match.span() for match in CODE.finditer(markdown)]

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match.groups()
        if "://" in target or any(begin < match.start() < end for begin, end in kept):
            return match[0]
        path = os.path.normpath(os.path.join(os.path.dirname(here), target))
        if not (ROOT / path).exists():
            return match[0]  # MkDocs will complain
        page_there = OTHERS.get(path) or (path[5:] if path.startswith("docs/") else "")
        if not page_there:
            return f"`{path}`"
        relative = os.path.relpath(page_there, os.path.dirname(page.file.src_uri) or ".")
        return f"[{text}]({relative}{anchor or ''})"

    return LINK.sub(link, markdown)
