"""Running PostgreSQL's own pgbench and reading what it says."""

import re
import subprocess
from dataclasses import dataclass

from servers import client_environment, tool


@dataclass
class Run:
    """One pgbench run with the server's CPU time over it."""

    transactions: int
    failed: int
    tps: float
    latency_ms: float
    server_cpu_seconds: float
    # Share of the commits in which more than one core took part; 0 for a server without cores of its own.
    cross_core_share: float

    @property
    def cpu_us(self):
        """Server CPU a transaction, in microseconds."""
        return self.server_cpu_seconds / max(self.transactions, 1) * 1e6


class PgbenchFailed(Exception):
    """pgbench ended with an error, or its output was not what it should be."""


def initialize(server, scale, steps=None, timeout=1800):
    """Create and fill pgbench's tables. `steps` as for its -I."""
    command = [tool("pgbench"), "-i", "-q", "-s", str(scale)] + (["-I", steps] if steps else [])
    _run(command, server, timeout)


def run(server, arguments, seconds, clients=16, jobs=2, mode="prepared", timeout=None):
    """Run it for some seconds. Client errors make it fail."""
    command = [tool("pgbench"), "-c", str(clients), "-j", str(jobs), "-T", str(seconds), "-M", mode, *arguments]
    before, commits_before = server.cpu_seconds(), server.commits()
    output = _run(command, server, timeout or seconds + 120)
    cpu = server.cpu_seconds() - before
    one, several = (after - at_first for after, at_first in zip(server.commits(), commits_before))
    try:
        transactions = int(re.search(r"transactions actually processed: (\d+)", output)[1])
        failed = int(match[1]) if (match := re.search(r"number of failed transactions: (\d+)", output)) else 0
        tps = float(re.search(r"tps = ([\d.]+) \(without", output)[1])
        latency_ms = float(re.search(r"latency average = ([\d.]+) ms", output)[1])
    except TypeError as error:
        raise PgbenchFailed(f"pgbench's output is not understood:\n{output}") from error
    return Run(transactions, failed, tps, latency_ms, cpu, several / max(one + several, 1))


def _run(command, server, timeout):
    try:
        done = subprocess.run(
            command, env=client_environment(server), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired as error:
        raise PgbenchFailed(f"{' '.join(command)} did not end within {timeout} s; {server.name}'s log:\n{server.log_tail()}") from error
    output = done.stdout + done.stderr
    if done.returncode != 0 or "aborted" in done.stderr:
        raise PgbenchFailed(f"{' '.join(command)} failed ({done.returncode}):\n{output}\n{server.name}'s log:\n{server.log_tail(10)}")
    return output



def sums(server):
    """The four sums that pgbench's TPC-B keeps equal: accounts, branches, tellers, history. Nothing else may be running."""
    connection = server.connect()
    columns = {"accounts": "abalance", "branches": "bbalance", "tellers": "tbalance", "history": "delta"}
    values = [int(connection.value(f"SELECT sum({column}) FROM pgbench_{table}") or 0) for table, column in columns.items()]
    connection.close()
    return values
