"""Starting, measuring and killing the servers under test: OmenDB, and a scratch PostgreSQL to compare with."""

import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

from wire import Connection, Disconnected, ServerError

ROOT = pathlib.Path(__file__).resolve().parents[2]
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
START_SECONDS_MAX = 120
STOP_SECONDS_MAX = 60


def free_port():
    """A TCP port of the loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scratch_dir(parent=None):
    """A fresh directory on a real disk (/tmp may be in memory), readable by the user PostgreSQL runs as."""
    path = tempfile.mkdtemp(prefix="omendb-", dir=parent or os.environ.get("SCRATCH_PARENT", "/var/tmp"))
    os.chmod(path, 0o755)
    return pathlib.Path(path)


def target_dir():
    """Where cargo puts what it builds of this repository."""
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))


def default_binary():
    """The release binary of this repository."""
    return target_dir() / "release" / "omendb"


def say(text):
    """Print a line of progress with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Server:
    """A server process listening on the loopback. Subclasses say how it starts."""

    name = "server"

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.port = free_port()
        self.process = None
        self.log_path = self.directory / f"{self.name}.log"

    def command(self):
        raise NotImplementedError

    def popen_options(self):
        return {}

    def start(self, wait=True):
        """Start it, and wait until it answers a query."""
        assert self.process is None, f"{self.name} runs already"
        log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **self.popen_options()
        )
        log.close()
        if wait:
            self.wait_ready()

    def wait_ready(self):
        """Wait until it answers a query."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode} at start:\n{self.log_tail()}")
            try:
                connection = self.connect(timeout=10)
                connection.query("SELECT 1")
                connection.close()
                return
            except (Disconnected, ServerError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise SystemExit(f"{self.name} does not answer after {START_SECONDS_MAX} s ({error}):\n{self.log_tail()}") from error
                time.sleep(0.02)

    def connect(self, timeout=60.0):
        return Connection(self.port, timeout=timeout)

    def kill(self):
        """kill -9, the whole of it."""
        for pid in self.pids():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None

    def stop(self):
        """Fast shutdown; the exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise SystemExit(f"{self.name} did not stop within {STOP_SECONDS_MAX} s:\n{self.log_tail()}") from error
        self.process = None
        return code

    def pids(self):
        """The process and all its descendants."""
        children = {}
        for entry in os.listdir("/proc"):
            if entry.isdigit() and (stat := _stat(int(entry))) is not None:
                children.setdefault(stat["ppid"], []).append(int(entry))
        found, todo = [], [self.process.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo.extend(children.get(pid, []))
        return found

    def cpu_seconds(self):
        """User and system time so far of all its processes, those that ended included."""
        total = 0
        for pid in self.pids():
            if (stat := _stat(pid)) is not None:
                total += stat["own"] + (stat["ended_children"] if pid == self.process.pid else 0)
        return total / TICKS_PER_SECOND

    def resident_bytes(self):
        """Resident memory of its main process."""
        pages = int(pathlib.Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def commits(self):
        """Writing transactions committed so far by one core alone, and by several together."""
        return 0, 0

    def log_tail(self, lines=30):
        """The end of its log."""
        text = self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


def _stat(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name may hold spaces; fields are counted behind its closing parenthesis (proc(5): 4 ppid, 14-17 times).
    fields = text[text.rindex(")") + 2 :].split()
    return {"ppid": int(fields[1]), "own": int(fields[11]) + int(fields[12]), "ended_children": int(fields[13]) + int(fields[14])}


class OmenDB(Server):
    """The server of this repository."""

    name = "omendb"

    def __init__(self, directory, binary=None, cores=None, flags=()):
        super().__init__(directory)
        self.binary = pathlib.Path(binary or default_binary())
        self.http_port = free_port()
        self.cores = cores
        self.flags = list(flags)
        if not self.binary.exists():
            raise SystemExit(f"{self.binary} does not exist: cargo build --release")

    def command(self):
        command = [str(self.binary), "serve", "--data-dir", str(self.directory / "omendb-data")]
        command += ["--listen", f"127.0.0.1:{self.port}", "--http", f"127.0.0.1:{self.http_port}"]
        if self.cores is not None:
            command += ["--cores", str(self.cores)]
        return command + self.flags

    def metric(self, name, **labels):
        """The sum of a metric's samples that carry these labels; name with the suffix it is exported under."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        samples = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
        assert samples, f"{name} is not exported"
        return sum(float(value) for found, value in samples if all(label in found for label in wanted))

    def commits(self):
        return tuple(int(self.metric("omendb_transactions_committed_total", cores=cores)) for cores in ("one", "several"))

    def version(self):
        return subprocess.run([self.binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()


class PostgreSQL(Server):
    """A scratch PostgreSQL, made with initdb in the directory. synchronous_commit and fsync are on."""

    name = "postgresql"

    def __init__(self, directory, shared_buffers="2GB"):
        super().__init__(directory)
        self.bin = postgresql_bin()
        # PostgreSQL refuses to run as root.
        self.user = "postgres" if os.geteuid() == 0 else None
        self.data = self.directory / "postgresql-data"
        self.data.mkdir(mode=0o700)
        if self.user is not None:
            shutil.chown(self.data, self.user, self.user)
        subprocess.run(
            [self.bin / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C"],
            check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **self.popen_options(),
        )
        self.settings = {
            "shared_buffers": shared_buffers,
            "max_wal_size": "8GB",
            "max_connections": "100",
            "max_prepared_transactions": "64",
            "synchronous_commit": "on",
            "fsync": "on",
            "unix_socket_directories": "",
        }

    def popen_options(self):
        return {"user": self.user, "group": self.user, "cwd": "/"} if self.user else {}

    def command(self):
        settings = [argument for key, value in self.settings.items() for argument in ("-c", f"{key}={value}")]
        return [str(self.bin / "postgres"), "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1", *settings]

    def version(self):
        return subprocess.run([self.bin / "postgres", "--version"], capture_output=True, text=True, check=True).stdout.strip()


def postgresql_bin():
    """Where PostgreSQL's programs are (Debian keeps them out of PATH)."""
    for path in sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True):
        if (path / "initdb").exists():
            return path
    if found := shutil.which("initdb"):
        return pathlib.Path(found).parent
    raise SystemExit("PostgreSQL is needed for this: apt-get install postgresql")


def tool(name):
    """The path of psql or pgbench."""
    found = shutil.which(name)
    if found is None and (path := postgresql_bin() / name).exists():
        found = str(path)
    if found is None:
        raise SystemExit(f"{name} is needed for this: apt-get install postgresql-client postgresql")
    return found


def client_environment(server):
    """Environment for psql and pgbench to reach the server."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    return environment | {"PGHOST": "127.0.0.1", "PGPORT": str(server.port), "PGUSER": "postgres", "PGDATABASE": "postgres", "PGCONNECT_TIMEOUT": "10"}
