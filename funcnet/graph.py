"""The two dicts, validated once: every problem is found and told in one error, and the forward order is derived."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from funcnet.core import Layer, OperatorKey
from funcnet.errors import GraphError

Edges: TypeAlias = "dict[OperatorKey, tuple[OperatorKey, ...]]"
SHOWN = 12  # keys listed in a message


class Shared(NamedTuple):
    """Operator `key` again, with the same parameters."""

    key: OperatorKey


def shared(key: OperatorKey) -> Shared:
    """Stand for operator `key` once more in `operators`: the same parameters, whose gradients add up.

    {"left": fn.linear(8), "right": fn.shared("left"), "join": fn.subtract()}
    """
    return Shared(key)


class Graph:
    """What the two dicts say.

    operators: key -> layer, list of layers, or `shared(key)`.      connectivity: key -> the keys that it feeds.
    predecessors: key -> who feeds it, in the order of its inputs.  order: key -> its place in the forward pass.
    inputs, outputs: the operators that read the outside, and those whose values go out.
    single: whether one key was named as output, so that there is one array and not a tuple of them.
    """

    def __init__(
        self,
        operators: Mapping[Any, Any],
        connectivity: Mapping[Any, Any],
        inputs: Sequence[Any] | None = None,
        output: Any = None,
    ) -> None:
        check = _Check(operators, connectivity)
        self.operators: dict[OperatorKey, Any] = check.operators
        self.connectivity: Edges = check.edges
        self.predecessors: Edges = check.predecessors()
        self.order: dict[OperatorKey, int] = check.order(self.predecessors)
        self.inputs: tuple[OperatorKey, ...] = check.inputs(inputs, self.predecessors)
        self.outputs: tuple[OperatorKey, ...] = check.outputs(output)
        self.single = not isinstance(output, (list, tuple))
        check.reach(self.inputs, self.outputs, self.predecessors)
        check.arities(self.inputs, self.predecessors)
        if check.problems:
            raise GraphError(check.problems)


class _Check:
    """Collects the problems of the two dicts; what is not a problem goes on to the next check."""

    def __init__(self, operators: Any, connectivity: Any) -> None:
        self.problems: list[str] = []
        self.operators = self._operators(operators)
        self.edges = self._edges(connectivity)
        for key, operator in self.operators.items():
            self._shared(key, operator)

    def _operators(self, operators: Any) -> dict[OperatorKey, Any]:
        if not isinstance(operators, Mapping) or not operators:
            self.problems.append(
                f"operators is {_brief(operators)}: give at least one operator, such as {{1: fn.linear(2)}}"
            )
            return {}
        for key, operator in operators.items():
            if not is_key(key):
                self.problems.append(f"operators has the key {key!r}, a {type(key).__name__}: keys are int or str")
            if isinstance(operator, (list, tuple)) and not isinstance(operator, (Layer, Shared)):
                self._series(key, operator)
            elif not isinstance(operator, (Layer, Shared)):
                self.problems.append(f"operators[{key!r}] is {_not_a_layer(operator)}")
        return {key: tuple(op) if isinstance(op, list) else op for key, op in operators.items() if is_key(key)}

    def _series(self, key: Any, layers: Sequence[Any]) -> None:
        if not layers:
            self.problems.append(f"operators[{key!r}] is an empty list: give at least one layer, or fn.identity()")
        for i, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                self.problems.append(f"operators[{key!r}][{i}] is {_not_a_layer(layer)}")
            elif i and arity(layer) not in (1, None):
                self.problems.append(
                    f"operators[{key!r}][{i}] ({kind(layer)}) takes {arity(layer)} inputs, but in a list each layer is fed "
                    "by the one before it alone. Give it a key of its own"
                )

    def _shared(self, key: OperatorKey, operator: Any) -> None:
        if not isinstance(operator, Shared):
            return
        if operator.key not in self.operators:
            self.problems.append(f"operators[{key!r}] shares {operator.key!r}, {self._unknown(operator.key)}")
        elif isinstance(self.operators[operator.key], Shared):
            first = self.operators[operator.key].key
            self.problems.append(
                f"operators[{key!r}] shares {operator.key!r}, which is itself shared. Name the first one: fn.shared({first!r})"
            )

    def _edges(self, connectivity: Any) -> Edges:
        if not isinstance(connectivity, Mapping):
            self.problems.append(
                f"connectivity is {_brief(connectivity)}: give a dict, key -> list of the keys it feeds"
            )
            connectivity = {}
        edges: Edges = {key: () for key in self.operators}
        fed: Edges = {}
        for key, successors in connectivity.items():
            if not is_key(key) or key not in self.operators:
                self.problems.append(f"connectivity has the key {key!r}, {self._unknown(key)}")
            elif isinstance(successors, str) or not isinstance(successors, Iterable):
                self.problems.append(f"connectivity[{key!r}] is {successors!r}: write a list, [{successors!r}]")
            else:
                fed[key] = self._successors(key, tuple(successors))
        return {**fed, **{key: () for key in edges if key not in fed}}

    def _successors(self, key: OperatorKey, successors: tuple[Any, ...]) -> tuple[OperatorKey, ...]:
        known = dict.fromkeys(s for s in successors if is_key(s) and s in self.operators)
        for s in dict.fromkeys(s for s in successors if not is_key(s) or s not in self.operators):
            self.problems.append(f"connectivity[{key!r}] names {s!r}, {self._unknown(s)}")
        for s in known:
            if successors.count(s) > 1:
                self.problems.append(
                    f"connectivity[{key!r}] names {s!r} {successors.count(s)} times: an edge stands once. "
                    "To feed one value twice, put an fn.identity() between"
                )
        return tuple(known)

    def _unknown(self, key: Any) -> str:
        """Why a key is not one of operators, and which was perhaps meant."""
        if not is_key(key):
            return f"a {type(key).__name__}: keys are int or str"
        near = nearest(key, self.operators)
        return f"which is not in operators {_listed(self.operators)}." + (
            f" Did you mean {near!r}?" if near is not None else ""
        )

    def predecessors(self) -> Edges:
        """Who feeds each operator, in the order in which the edges stand in connectivity."""
        fed_by: dict[OperatorKey, list[OperatorKey]] = {key: [] for key in self.operators}
        for key, successors in self.edges.items():
            for successor in successors:
                fed_by[successor].append(key)
        return {key: tuple(keys) for key, keys in fed_by.items()}

    def order(self, predecessors: Edges) -> dict[OperatorKey, int]:
        """The place of each operator in the forward pass; a cycle is reported, and then cut so that the rest is ordered too."""
        waiting = {key: len(keys) for key, keys in predecessors.items()}
        ready = [key for key, count in waiting.items() if not count]
        order: dict[OperatorKey, int] = {}
        cut: set[tuple[OperatorKey, OperatorKey]] = set()
        while len(order) < len(waiting):
            for key in ready:  # grows while it is walked
                order[key] = len(order)
                for successor in self.edges[key]:
                    if (key, successor) not in cut:
                        waiting[successor] -= 1
                        if not waiting[successor]:
                            ready.append(successor)
            if len(order) < len(waiting):
                last, first = self._cycle(order, predecessors, cut)
                cut.add((last, first))
                waiting[first] -= 1
                ready = [] if waiting[first] else [first]
        return order

    def _cycle(self, done: Mapping[Any, int], predecessors: Edges, cut: set[Any]) -> tuple[OperatorKey, OperatorKey]:
        """Walk back from an operator that waits until one comes again; report the way and return its closing edge."""
        key = next(key for key in self.operators if key not in done)
        seen: dict[OperatorKey, int] = {}
        while key not in seen:
            seen[key] = len(seen)
            key = next(p for p in predecessors[key] if p not in done and (p, key) not in cut)
        cycle = [*seen][seen[key] :][::-1]
        start = cycle.index(next(k for k in self.operators if k in cycle))
        cycle = [*cycle[start:], *cycle[: start + 1]]
        self.problems.append(
            f"{' -> '.join(map(repr, cycle))} is a cycle. "
            f"Remove one of its edges, for example {cycle[-1]!r} from connectivity[{cycle[-2]!r}]."
        )
        return cycle[-2], cycle[-1]

    def inputs(self, inputs: Any, predecessors: Edges) -> tuple[OperatorKey, ...]:
        """The operators that read the outside: those named, or those that nothing feeds."""
        if inputs is None:
            return tuple(key for key, keys in predecessors.items() if not keys)
        named = self._named("inputs", inputs)
        for key in named:
            if predecessors[key]:
                self.problems.append(
                    f"operator {key!r} is named in inputs, but {_listed(predecessors[key])} feeds it too. "
                    "Give the input an operator of its own: an fn.identity() that feeds it"
                )
        return named

    def outputs(self, output: Any) -> tuple[OperatorKey, ...]:
        """The operators whose values go out: those named, or the only one that feeds nothing."""
        if output is not None:
            return self._named("output", output if isinstance(output, (list, tuple)) else [output])
        sinks = tuple(key for key, successors in self.edges.items() if not successors)
        if len(sinks) > 1:
            self.problems.append(
                f"{len(sinks)} operators feed nothing: {_listed(sinks)}. Name the output, for example "
                f"output={sinks[-1]!r}, or several, output=[{sinks[0]!r}, {sinks[1]!r}]"
            )
        return sinks

    def _named(self, what: str, keys: Any) -> tuple[OperatorKey, ...]:
        if isinstance(keys, str) or not isinstance(keys, Sequence) or not keys:
            self.problems.append(
                f"{what} is {keys!r}: write a list of keys, such as [{next(iter(self.operators), 1)!r}]"
            )
            return ()
        for key in dict.fromkeys(k for k in keys if is_key(k)):
            if keys.count(key) > 1:
                self.problems.append(f"{what} names {key!r} {keys.count(key)} times: name it once")
        for key in keys:
            if not is_key(key) or key not in self.operators:
                self.problems.append(f"{what} names {key!r}, {self._unknown(key)}")
        return tuple(dict.fromkeys(k for k in keys if is_key(k) and k in self.operators))

    def reach(self, inputs: Iterable[OperatorKey], outputs: Iterable[OperatorKey], predecessors: Edges) -> None:
        """Report operators that no input reaches, and operators that reach no output."""
        if inputs:
            reached = reachable(inputs, self.edges)
            for key in (k for k in self.operators if k not in reached):
                how = "name it in inputs, feed it" if not predecessors[key] else "feed it from one"
                self.problems.append(f"no input reaches operator {key!r}: {how}, or remove it")
        if outputs:
            needed = reachable(outputs, predecessors)
            for key in (k for k in self.operators if k not in needed):
                self.problems.append(f"operator {key!r} reaches no output: connect it, name it in output, or remove it")

    def arities(self, inputs: Sequence[OperatorKey], predecessors: Edges) -> None:
        """Report operators that are fed by more or fewer values than they take."""
        for key, operator in self.operators.items():
            source = self.operators.get(operator.key) if isinstance(operator, Shared) else operator
            takes = arity(
                source[0] if isinstance(source, tuple) and not isinstance(source, Layer) and source else source
            )
            fed = predecessors[key] or ((key,) if key in inputs else ())
            if takes is not None and fed and len(fed) != takes:
                who = f"fed by {_listed(fed)}" if predecessors[key] else "an input operator, which reads one array"
                self.problems.append(
                    f"operator {key!r} ({kind(source)}) takes {takes} input{'s' * (takes > 1)}, but is {who}"
                )


def is_key(key: Any) -> bool:
    """Whether this can be an operator's key: int or str, and no bool."""
    return isinstance(key, (int, str)) and not isinstance(key, bool)


def arity(operator: Any) -> int | None:
    """How many inputs a layer takes; None where any number will do, or nobody knows."""
    return getattr(getattr(operator, "apply", None), "arity", None)


def kind(operator: Any) -> str:
    """What to call an operator in a message."""
    if isinstance(operator, tuple) and not isinstance(operator, (Layer, Shared)):
        return ", ".join(map(kind, operator))
    apply = getattr(operator, "apply", None)
    return str(getattr(apply, "kind", None) or getattr(apply, "__name__", type(operator).__name__))


def reachable(start: Iterable[OperatorKey], edges: Edges) -> set[OperatorKey]:
    """The keys that can be reached along the edges."""
    found = dict.fromkeys(start)
    stack = [*found]
    while stack:
        new = [key for key in edges[stack.pop()] if key not in found]
        found.update(dict.fromkeys(new))
        stack.extend(new)
    return set(found)


def nearest(key: OperatorKey, known: Iterable[Any]) -> OperatorKey | None:
    """The known key that looks most like this one."""
    import difflib  # only where there is an error to tell

    by_name = {str(k): k for k in known if is_key(k)}
    integers = [k for k in by_name.values() if isinstance(k, int)]
    if isinstance(key, int) and integers and str(key) not in by_name:
        return min(integers, key=lambda k: abs(k - key))
    close = difflib.get_close_matches(str(key), by_name, n=1)
    return by_name[close[0]] if close else None


def _listed(keys: Iterable[Any]) -> str:
    names = [repr(key) for key in keys]
    more = f", ... ({len(names) - SHOWN} more)" if len(names) > SHOWN else ""
    return "{" + ", ".join(names[:SHOWN]) + more + "}"


def _brief(value: Any) -> str:
    return "empty" if isinstance(value, Mapping) else f"{value!r:.60}, a {type(value).__name__}"


def _not_a_layer(value: Any) -> str:
    name = getattr(value, "__name__", None)
    if callable(value) and name:
        return f"the function {name} and not a layer: call it, fn.{name}(...)"
    return f"{value!r:.60}, a {type(value).__name__}: give a layer such as fn.linear(25), or a list of layers"
