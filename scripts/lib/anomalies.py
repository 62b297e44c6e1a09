"""Looks for anomalies in a history of transactions that append to lists and read them.

Because every element is unique and lists only grow, the final list of a key is the order of its versions, and what a
transaction read says which version it was. From that follow the dependencies between transactions (Adya, 1999; Kingsbury and
Alvaro, "Elle", 2020): ww (installs the next version), wr (reads the version), rw (reads a version whose successor the other
installs). A cycle is an anomaly; which one says which level forbids it.
"""

import collections
import dataclasses

COMMITTED, ABORTED, UNKNOWN = "committed", "aborted", "unknown"


@dataclasses.dataclass
class Transaction:
    """What one client saw of one transaction."""

    name: str
    outcome: str = UNKNOWN
    # (key, list that was read), in order.
    reads: list = dataclasses.field(default_factory=list)
    # (key, element), in order.
    appends: list = dataclasses.field(default_factory=list)


def check(transactions, final, level):
    """Problems of a history at an isolation level, as texts. `final` has the list of every key."""
    by_name = {transaction.name: transaction for transaction in transactions}
    writer = {element: transaction for transaction in transactions for _, element in transaction.appends}
    problems = _elements(transactions, final, writer)
    if problems:
        return problems
    present = {writer[element].name for elements in final.values() for element in elements}
    alive = {t.name for t in transactions if t.outcome == COMMITTED or (t.outcome == UNKNOWN and t.name in present)}
    problems += _reads(transactions, final, writer, alive)
    if problems:
        return problems
    edges = _dependencies([by_name[name] for name in alive], final, writer)
    return _cycles(edges, level)


def _elements(transactions, final, writer):
    """Lost, duplicated and undead elements, and transactions of which only a part is there."""
    problems = []
    there = collections.Counter()
    for key, elements in final.items():
        for element in elements:
            there[key, element] += 1
            if element not in writer:
                problems.append(f"element {element} of list {key} was never appended")
    for transaction in transactions:
        counts = [there[append] for append in transaction.appends]
        if any(count > 1 for count in counts):
            problems.append(f"{transaction.name} is there twice: {transaction.appends}")
        elif transaction.outcome == COMMITTED and not all(counts):
            problems.append(f"{transaction.name} was acknowledged, and of {transaction.appends} only {counts} are there")
        elif transaction.outcome == ABORTED and any(counts):
            problems.append(f"{transaction.name} was rolled back, and of {transaction.appends} {counts} are there")
        elif transaction.outcome == UNKNOWN and any(counts) and not all(counts):
            problems.append(f"only a part of {transaction.name} is there: {transaction.appends} {counts}")
    return problems


def _reads(transactions, final, writer, alive):
    """Reads of what was rolled back (G1a), of half a transaction (G1b), and of lists that never were."""
    problems = []
    last_of = {}
    for transaction in transactions:
        for key, element in transaction.appends:
            last_of[transaction.name, key] = element
    for transaction in transactions:
        if transaction.name not in alive:
            continue
        for key, elements in transaction.reads:
            whole = final.get(key, [])
            if elements != whole[: len(elements)]:
                problems.append(f"{transaction.name} read {elements} in list {key}, which became {whole}")
            elif elements:
                author = writer[elements[-1]]
                if author.name != transaction.name and last_of[author.name, key] != elements[-1]:
                    problems.append(f"{transaction.name} read half of what {author.name} wrote to list {key}")
    return problems


def _dependencies(transactions, final, writer):
    """Edges by kind: {from: {to: {"ww", "wr", "rw"}}}."""
    edges = collections.defaultdict(lambda: collections.defaultdict(set))

    def add(source, target, kind):
        if source != target:
            edges[source][target].add(kind)

    for elements in final.values():
        for before, after in zip(elements, elements[1:]):
            add(writer[before].name, writer[after].name, "ww")
    for transaction in transactions:
        for key, elements in transaction.reads:
            if elements:
                add(writer[elements[-1]].name, transaction.name, "wr")
            rest = final.get(key, [])[len(elements) :]
            later = next((writer[element].name for element in rest if writer[element].name != transaction.name), None)
            # What follows one's own appends was installed over them, which the ww edge says.
            if later is not None and (not rest or writer[rest[0]].name != transaction.name):
                add(transaction.name, later, "rw")
    return edges


def _cycles(edges, level):
    dirty = {a: {b for b, kinds in targets.items() if kinds & {"ww", "wr"}} for a, targets in edges.items()}
    for component in _components(dirty):
        return [f"G1c: information flows in a circle: {_some(component)}"]
    if level == "READ COMMITTED":
        return []
    everything = {a: set(targets) for a, targets in edges.items()}
    for component in _components(everything):
        if level == "SERIALIZABLE":
            return [f"G2: the transactions have no serial order: {_some(component)}"]
        found = _without_adjacent_rw(edges, component)
        if found is not None:
            return [f"G-nonadjacent: snapshot isolation allows no such cycle through {found}: {_some(component)}"]
    return []


def _some(names):
    names = sorted(names)
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _without_adjacent_rw(edges, component):
    """The start of a cycle in which no two anti-dependencies follow each other, if there is one (Cerone and Gotsman, 2018)."""
    members = set(component)
    for start in component:
        for second, kinds in edges[start].items():
            if second not in members or "rw" not in kinds:
                continue
            # States: a transaction, and whether it was entered by rw.
            todo, seen = [(second, True)], {(second, True)}
            while todo:
                at, by_rw = todo.pop()
                for target, kinds in edges[at].items():
                    if target not in members:
                        continue
                    states = {(target, False)} if kinds & {"ww", "wr"} else set()
                    if "rw" in kinds and not by_rw:
                        states.add((target, True))
                    if (start, False) in states:
                        return f"{start} -> {second}"
                    todo.extend(states - seen)
                    seen |= states
    return None


def _components(edges):
    """Strongly connected components of more than one member (Tarjan, 1972, without recursion)."""
    index, low, on_stack, stack, found = {}, {}, set(), [], []
    for root in list(edges):
        if root in index:
            continue
        work = [(root, iter(edges.get(root, ())))]
        index[root] = low[root] = len(index)
        stack.append(root)
        on_stack.add(root)
        while work:
            node, targets = work[-1]
            for target in targets:
                if target not in index:
                    index[target] = low[target] = len(index)
                    stack.append(target)
                    on_stack.add(target)
                    work.append((target, iter(edges.get(target, ()))))
                    break
                if target in on_stack:
                    low[node] = min(low[node], index[target])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    component = []
                    while not component or component[-1] != node:
                        component.append(stack.pop())
                        on_stack.discard(component[-1])
                    if len(component) > 1:
                        found.append(component)
    return found
