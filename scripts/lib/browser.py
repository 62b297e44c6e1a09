"""A headless Chromium for the tests of the console, driven by playwright-core."""

import os
import shutil
import subprocess

from servers import ROOT, say


def need(program, package):
    """A program, installed as a Debian package if it is missing and this user may."""
    if (found := shutil.which(program)) is None:
        if os.geteuid() != 0:
            raise SystemExit(f"{program} is missing: apt-get install {package}")
        say(f"installing {package}")
        quiet = {"check": True, "stdout": subprocess.DEVNULL}
        subprocess.run(["apt-get", "update", "-qq"], **quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", package], **quiet)
        found = shutil.which(program)
    return found


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
