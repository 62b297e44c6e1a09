"""Programs that scripts need: packages of the Debian that this is, or of another one in a directory of its own."""

import os
import pathlib
import shutil
import subprocess

from servers import say


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


def tree(name, suite, packages, finish=lambda root: None):
    """A Debian with these packages (names with spaces between), made once as root and kept below the cache directory. `finish` is for what
    else is done to it when it is made."""
    root = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / f"omendb-{name}"
    made_of = root / "etc" / "omendb-packages"
    if made_of.exists() and made_of.read_text() == packages:
        return root
    shutil.rmtree(root, ignore_errors=True)
    root.parent.mkdir(parents=True, exist_ok=True)
    say(f"making a Debian {suite} with {packages} (some minutes, once)")
    command = [need("debootstrap", "debootstrap"), "--variant=minbase", f"--include={packages.replace(' ', ',')}", suite, str(root)]
    if (done := subprocess.run(command, capture_output=True, text=True)).returncode:
        raise SystemExit(f"debootstrap failed:\n{done.stdout[-2000:]}")
    finish(root)
    made_of.write_text(packages)
    return root
