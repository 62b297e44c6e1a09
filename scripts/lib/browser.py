"""A headless Chromium for the tests of the console, driven by playwright-core."""

import os
import shutil
import subprocess

from debian import need
from servers import ROOT


class Browser:
    """tests/console with what its programs need, in a directory of its own."""

    def __init__(self, directory):
        self.node, npm = need("node", "nodejs"), need("npm", "npm")
        self.environment = {**os.environ, "CHROMIUM": need("chromium", "chromium")}
        self.tests = directory / "tests"
        shutil.copytree(ROOT / "tests" / "console", self.tests)
        command = [npm, "install", "--silent", "--no-fund", "--no-audit", "--no-package-lock"]
        subprocess.run(command, cwd=self.tests, check=True)

    def start(self, program, *arguments, **options):
        """Start one of the programs of tests/console."""
        return subprocess.Popen([self.node, program, *map(str, arguments)], cwd=self.tests, env=self.environment, **options)
