"""A load that knows what it was promised: bank transfers with a ledger of unique keys, and the check of what survived.

Every transaction moves money between two accounts and writes two ledger entries whose keys lie far apart, so that entries and
accounts end on different cores. The worker remembers a transaction as acknowledged when the answer to COMMIT has arrived, as
unknown when the connection broke between sending COMMIT and the answer, and as refused when it rolled back. Some commit in two phases;
one whose PREPARE TRANSACTION was answered and whose COMMIT PREPARED was not is in doubt: it is there, or still to be decided.
"""

import random
import threading

from wire import Disconnected, ServerError

ACCOUNTS = 1000
OPENING_BALANCE = 1_000_000
# Between the two entries of one transaction.
FAR = 1 << 40
# Transaction numbers of one worker.
WORKER_SPAN = 1 << 24
# What a client may be refused with under load, without it being a fault: serialization failure, deadlock, the shutdown.
EXPECTED_CODES = {"40001", "40P01", "57P01", "57P02", "57P03"}


class Ledger:
    """What was promised so far, over all rounds."""

    def __init__(self):
        self.acknowledged = {}
        self.unknown = {}
        self.in_doubt = {}
        self.refused = set()
        # Found prepared after a restart, and decided then.
        self.decided = 0

    def counts(self):
        return (
            f"{len(self.acknowledged)} acknowledged, {len(self.unknown)} undecided, {len(self.in_doubt)} in doubt, "
            f"{len(self.refused)} rolled back, {self.decided} decided after a restart"
        )


def create(server):
    """Tables and accounts, all before any kill."""
    connection = server.connect()
    connection.query("CREATE TABLE account (id int PRIMARY KEY, balance bigint NOT NULL)")
    connection.query("CREATE TABLE ledger (key bigint PRIMARY KEY, account int NOT NULL, amount bigint NOT NULL)")
    connection.query(f"INSERT INTO account SELECT i, {OPENING_BALANCE} FROM generate_series(0, {ACCOUNTS - 1}) AS i")
    connection.close()


class Worker(threading.Thread):
    """Transfers money until the connection breaks or it is told to stop."""

    def __init__(self, server, number, first_sequence, seed):
        super().__init__(name=f"worker-{number}", daemon=True)
        self.server = server
        self.random = random.Random(seed)
        self.base = number * WORKER_SPAN
        self.sequence = first_sequence
        self.stopping = threading.Event()
        self.acknowledged, self.unknown, self.in_doubt, self.refused = {}, {}, {}, set()
        self.fault = None

    def run(self):
        try:
            connection = self.server.connect()
            while not self.stopping.is_set():
                self.transfer(connection)
            connection.close()
        except Disconnected:
            pass
        except ServerError as error:
            if error.code not in EXPECTED_CODES:
                self.fault = error
        except Exception as error:  # A thread's exception would be lost otherwise.
            self.fault = error

    def transfer(self, connection):
        number = self.base + self.sequence
        self.sequence += 1
        assert self.sequence < WORKER_SPAN, "a worker's numbers do not run into the next one's"
        giver, taker = self.random.sample(range(ACCOUNTS), 2)
        amount = self.random.randrange(1, 1000)
        rolls_back = self.random.random() < 0.05
        statements = [
            f"UPDATE account SET balance = balance - {amount} WHERE id = {giver}",
            f"UPDATE account SET balance = balance + {amount} WHERE id = {taker}",
        ]
        # Mostly in the order of accounts, so that few wait for each other in a circle; not always, so that some do.
        if giver > taker and self.random.random() < 0.9:
            statements.reverse()
        statements.insert(0, "BEGIN")
        statements.append(f"INSERT INTO ledger VALUES ({number}, {giver}, {-amount}), ({number + FAR}, {taker}, {amount})")
        entries = {number: (giver, -amount), number + FAR: (taker, amount)}
        try:
            for statement in statements:
                connection.query(statement)
            if rolls_back:
                self.refused.add(number)
                connection.query("ROLLBACK")
                return
        except ServerError as error:
            self.refused.add(number)
            if error.code not in EXPECTED_CODES:
                raise
            connection.query("ROLLBACK")
            return
        except Disconnected:
            # COMMIT was never sent.
            self.refused.add(number)
            raise
        if self.random.random() < 0.15:
            return self.commit_in_two_phases(connection, number, entries)
        try:
            connection.query("COMMIT")
        except ServerError as error:
            # A refused COMMIT is a promise too: nothing of it may be there. At a shutdown the server may not know.
            (self.unknown.__setitem__(number, entries) if error.code.startswith("57P") else self.refused.add(number))
            if error.code not in EXPECTED_CODES:
                raise
            return
        except Disconnected:
            self.unknown[number] = entries
            raise
        self.acknowledged[number] = entries

    def commit_in_two_phases(self, connection, number, entries):
        for statement, broken in (("PREPARE TRANSACTION", self.unknown), ("COMMIT PREPARED", self.in_doubt)):
            try:
                connection.query(f"{statement} '{number}'")
            except ServerError as error:
                # At a shutdown the server may not know.
                broken[number] = entries
                if not error.code.startswith("57P"):
                    raise
                return
            except Disconnected:
                broken[number] = entries
                raise
        self.acknowledged[number] = entries


def collect(ledger, workers):
    """Take over what finished workers were promised. Raises what they were not allowed to meet."""
    for worker in workers:
        if worker.fault is not None:
            raise SystemExit(f"{worker.name}: {type(worker.fault).__name__}: {worker.fault}")
        ledger.acknowledged |= worker.acknowledged
        ledger.unknown |= worker.unknown
        ledger.in_doubt |= worker.in_doubt
        ledger.refused |= worker.refused


def decide(server, ledger, random):
    """Decides what a restart has found prepared. Problems found, as sentences."""
    connection = server.connect()
    problems = []
    for (gid,) in connection.query("SELECT gid FROM pg_prepared_xacts"):
        number = int(gid)
        entries = ledger.unknown.pop(number, None) or ledger.in_doubt.pop(number, None)
        if entries is None:
            problems.append(f"transaction {number} is prepared, although it was decided or never prepared")
            continue
        ledger.decided += 1
        if random.random() < 0.5:
            connection.query(f"COMMIT PREPARED '{gid}'")
            ledger.acknowledged[number] = entries
        else:
            connection.query(f"ROLLBACK PREPARED '{gid}'")
            ledger.refused.add(number)
    connection.close()
    # Its commit was asked for, so it may only be there: verify says if it is not.
    ledger.acknowledged |= ledger.in_doubt
    ledger.in_doubt.clear()
    return problems


def verify(server, ledger):
    """Problems found, as sentences; none if every promise was kept."""
    connection = server.connect()
    # One snapshot is enough: nothing else is running.
    found = {int(key): (int(account), int(amount)) for key, account, amount in connection.query("SELECT key, account, amount FROM ledger")}
    balances = {int(key): int(balance) for key, balance in connection.query("SELECT id, balance FROM account")}
    indexed = connection.value(f"SELECT count(*) FROM ledger WHERE key >= {FAR}")
    connection.close()
    problems = []
    for number, entries in ledger.acknowledged.items():
        for key, entry in entries.items():
            if found.get(key) != entry:
                problems.append(f"transaction {number} was acknowledged, but its entry {key} is {found.get(key)} and not {entry}")
    for number, entries in ledger.unknown.items():
        there = [key for key, entry in entries.items() if found.get(key) == entry]
        if len(there) not in (0, len(entries)):
            problems.append(f"transaction {number} is half there: {there} of {list(entries)}")
    for number in ledger.refused:
        if number in found or number + FAR in found:
            problems.append(f"transaction {number} was rolled back or never committed, but it is there")
    promised = {key for entries in (ledger.acknowledged, ledger.unknown) for number in entries.values() for key in number}
    problems += [f"entry {key} was never written" for key in found.keys() - promised if key % FAR not in ledger.refused]
    expected = dict.fromkeys(range(ACCOUNTS), OPENING_BALANCE)
    for account, amount in found.values():
        expected[account] += amount
    problems += [
        f"account {account} holds {balances.get(account)}, its entries say {balance}"
        for account, balance in expected.items() if balances.get(account) != balance
    ]
    if len(balances) != ACCOUNTS or sum(balances.values()) != ACCOUNTS * OPENING_BALANCE:
        problems.append(f"{len(balances)} accounts hold {sum(balances.values())} in all, not {ACCOUNTS * OPENING_BALANCE}")
    if int(indexed) * 2 != len(found):
        problems.append(f"a range read finds {indexed} second entries, a full read {len(found)} entries")
    return problems


def settle(server, ledger):
    """After a clean check, what was undecided is decided: remember which way, so that it may not change its mind later."""
    connection = server.connect()
    for number, entries in ledger.unknown.items():
        there = connection.query(f"SELECT 1 FROM ledger WHERE key = {number}")
        if there:
            ledger.acknowledged[number] = entries
        else:
            ledger.refused.add(number)
    ledger.unknown.clear()
    connection.close()
