"""Names of branches, for commands that read results and need no network."""

from __future__ import annotations

CASCADE = "cascade"
CONTROLS = ("longer", "continue", "best-of-n", "bottom-up", "random-top", "keep")
ATTRIBUTING = ("longer", "continue")  # without these a gain is not attributed
