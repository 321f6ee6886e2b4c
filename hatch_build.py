"""Bundles the page's code editor into the wheel, where npm is at hand; without it the page has a plain text area."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

EDITOR = Path("service/web/editor")
BUNDLE = Path("service/web/static/editor.js")


class PageBuildHook(BuildHookInterface[Any]):
    """Runs before a wheel is put together."""

    PLUGIN_NAME = "page"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Makes the bundle, unless it is there or the checkout itself is installed."""
        root = Path(self.root)
        if version == "editable" or (root / BUNDLE).exists():
            return
        npm = shutil.which("npm")
        if npm is None:
            self.app.display_warning("There is no npm: the page gets a plain text area instead of its code editor.")
            return
        for command in (["ci", "--ignore-scripts"], ["run", "--silent", "build"]):
            subprocess.run([npm, *command], cwd=root / EDITOR, check=True)
