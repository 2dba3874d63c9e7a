"""A new recipe: the template with the toolkit's location filled in."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from pathlib import Path

from cascade_asr.errors import ConfigError
from cascade_asr.files import temporary_beside, toolkit_folder

_UNUSABLE = re.compile("[:{}\x00-\x1f\x7f\x85\u2028\u2029]")  # what path.sh refuses


def create_recipe(folder: Path) -> Path:
    """Copy the template to ``folder``, which appears only once it is complete.

    Returns:
        The folder as an absolute path.

    Raises:
        ConfigError: if it exists, its name cannot be used for a recipe, or the
            installation lacks the template.
    """
    toolkit = toolkit_folder()
    template = toolkit / "egs/TEMPLATE"
    if not (template / "run.sh").is_file():
        raise ConfigError(f"{template}: missing; install the package again")
    folder = folder.absolute()
    odd = _UNUSABLE.search(str(folder))
    if odd:
        raise ConfigError(
            f"the folder {str(folder)!r} has {odd[0]!r} in its name, which separates folders in "
            "lists or lines in tables; choose another name"
        )
    if folder.exists() or folder.is_symlink():
        raise ConfigError(f"{folder}: already exists; choose another name")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(folder)
    ignored = shutil.ignore_patterns("data", "dump", "exp", "downloads", "__pycache__")
    try:
        shutil.copytree(template, temporary, ignore=ignored)
        _fill_in(temporary, folder.name, toolkit)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _fill_in(recipe: Path, name: str, toolkit: Path) -> None:
    """Write the recipe's name, and where the toolkit and its Python are."""
    environment = Path(sys.prefix)
    made_with = "" if environment == toolkit / ".venv" else str(environment)
    path = recipe / "path.sh"
    text = path.read_text(encoding="utf-8")
    for variable, value in (("_made_by", str(toolkit)), ("_made_with", made_with)):
        assert f"{variable}=''\n" in text
        text = text.replace(f"{variable}=''\n", f"{variable}={shlex.quote(value)}\n")
    path.write_text(text, encoding="utf-8")
    readme = recipe / "README.md"
    content = readme.read_text(encoding="utf-8").replace("# RECIPE\n", f"# {name}\n", 1)
    readme.write_text(content, encoding="utf-8")
