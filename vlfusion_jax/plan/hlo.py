"""The text of a program that XLA compiled, as instructions with how often each runs."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
_INSTRUCTION = re.compile(r"^\s+(?P<root>ROOT )?%?(?P<name>[\w.\-]+) = (?P<rest>.*)$")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,<=]*)\]")
_CALLED = re.compile(r"\b(?:calls|to_apply|condition|body|true_computation|false_computation)=%?([\w.\-]+)")
_BRANCHES = re.compile(r"\bbranch_computations=\{([^}]*)\}")
_PAIRS = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True)
class Instruction:
    """One line of a program.

    Attributes:
      name: unique in the program.
      shape: as XLA writes it, of a tuple with all its parts.
      opcode: such as `all-gather-start`.
      arguments: what stands in its brackets.
      attributes: what stands behind them.
      root: whether the computation returns it.
    """

    name: str
    shape: str
    opcode: str
    arguments: str
    attributes: str
    root: bool

    @property
    def operands(self) -> list[str]:
        """Names of instructions of the same computation."""
        return re.findall(r"%([\w.\-]+)", self.arguments)

    @property
    def called(self) -> list[str]:
        """Names of the computations that it runs."""
        branches = _BRANCHES.search(self.attributes)
        more = re.findall(r"[\w.\-]+", branches.group(1)) if branches else []
        return [*_CALLED.findall(self.attributes), *more]


@dataclass(frozen=True)
class Program:
    """A compiled program.

    Attributes:
      entry: name of the computation that runs first.
      computations: {name: {instruction's name: instruction}}, in order.
    """

    entry: str
    computations: dict[str, dict[str, Instruction]]

    def executed(self) -> Iterator[tuple[str, Instruction, int]]:
        """(computation, instruction, how often it runs).

        The body of a loop of unknown length counts once, and so does every branch of which only one is taken.
        """
        yield from self._executed(self.entry, 1)

    def _executed(self, computation: str, times: int) -> Iterator[tuple[str, Instruction, int]]:
        for instruction in self.computations[computation].values():
            yield computation, instruction, times
            trips = self.trips(computation, instruction) if instruction.opcode == "while" else 1
            for called in instruction.called:
                yield from self._executed(called, times * (1 if trips is None else trips))

    def unknown_loops(self) -> list[str]:
        """Names of the loops whose length is not known."""
        loops = ((where, each) for where, each, _ in self.executed() if each.opcode == "while")
        return [each.name for where, each in loops if self.trips(where, each) is None]

    def trips(self, computation: str, loop: Instruction) -> int | None:
        """How often the body of a loop runs: as the compiler noted, or as its counter says; None where neither does."""
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', loop.attributes)
        return int(known.group(1)) if known else self._counted(computation, loop)

    def _counted(self, computation: str, loop: Instruction) -> int | None:
        """Of a loop over `start, start + step, … < end`, of which all three are constants."""
        condition = self.computations[_attribute(loop, "condition")]
        root = root_of(condition)
        if root.opcode != "compare" or "direction=LT" not in root.attributes:
            return None
        counter, end = (_without_copies(condition, name) for name in root.operands)
        index = _attribute(counter, "index")
        if counter.opcode != "get-tuple-element" or end.opcode != "constant":
            return None
        here, body = self.computations[computation], self.computations[_attribute(loop, "body")]
        start = _element(here, here[loop.operands[0]], int(index))
        step = _element(body, root_of(body), int(index))
        if start is None or start.opcode != "constant" or step is None or step.opcode != "add":
            return None
        added = [_without_copies(body, name) for name in step.operands]
        steps = [each for each in added if each.opcode == "constant"]
        old = [each for each in added if each.opcode == "get-tuple-element" and _attribute(each, "index") == index]
        if len(steps) != 1 or len(old) != 1 or int(steps[0].arguments) < 1:
            return None
        return max(0, -((int(start.arguments) - int(end.arguments)) // int(steps[0].arguments)))


def root_of(computation: dict[str, Instruction]) -> Instruction:
    """The instruction whose result a computation returns."""
    return next(each for each in computation.values() if each.root)


def _attribute(instruction: Instruction, name: str) -> str:
    found = re.search(rf"\b{name}=%?([\w.\-]+)", instruction.attributes)
    return found.group(1) if found else ""


def _element(computation: dict[str, Instruction], made: Instruction, index: int) -> Instruction | None:
    """What stands at `index` of a tuple."""
    return _without_copies(computation, made.operands[index]) if made.opcode == "tuple" else None


def _without_copies(computation: dict[str, Instruction], name: str) -> Instruction:
    """The instruction of this name, or that of which it is a copy."""
    found = computation[name]
    while found.opcode == "copy":
        found = computation[found.operands[0]]
    return found


def parse(text: str | None) -> Program:
    """Reads what `compiled.as_text()` gives.

    Raises:
      ValueError: no computation in it begins with ENTRY, or it gives nothing, as for GPUs in older versions of JAX.
    """
    if text is None:
        raise ValueError(
            "this version of JAX does not show the programs that it compiles: upgrade it, to 0.10 or later"
        )
    computations: dict[str, dict[str, Instruction]] = {}
    entry, current = "", None
    # Notes of Pallas kernels stand on lines of their own, within an instruction.
    for line in re.sub(r'\n(?="|}})', "", text).splitlines():
        if head := _COMPUTATION.match(line):
            current = computations.setdefault(head.group(2), {})
            entry = head.group(2) if head.group(1) else entry
        elif line.startswith("}"):
            current = None
        elif current is not None and (found := _INSTRUCTION.match(line)):
            instruction = _instruction(found["name"], found["rest"], bool(found["root"]))
            current[instruction.name] = instruction
    if not entry:
        raise ValueError("no ENTRY computation: this is not the text of a compiled program")
    return Program(entry, computations)


def _instruction(name: str, rest: str, root: bool) -> Instruction:
    end = _end(rest, " ")
    shape, call = rest[:end], rest[end + 1 :]
    opcode, _, behind = call.partition("(")
    close = _end(behind, ")")
    return Instruction(name, shape, opcode, behind[:close], behind[close + 1 :], root)


def _end(text: str, stop: str) -> int:
    """Place of the first `stop` outside of all brackets that open in `text`."""
    open_brackets: list[str] = []
    for i, letter in enumerate(text):
        if not open_brackets and letter == stop:
            return i
        if letter in _PAIRS:
            open_brackets.append(_PAIRS[letter])
        elif open_brackets and letter == open_brackets[-1]:
            open_brackets.pop()
    return len(text)


def arrays(shape: str) -> list[tuple[str, list[int]]]:
    """(dtype, dims) of every array in a shape."""
    without_layouts = re.sub(r"\{[^{}]*\}", "", shape)
    return [
        (dtype, [int(size.removeprefix("<=")) for size in sizes.split(",") if size])
        for dtype, sizes in _ARRAY.findall(without_layouts)
    ]


def shape_bytes(shape: str) -> int:
    """Bytes of all numbers in a shape; layouts and their padding do not count."""
    return sum(math.prod(sizes) * _bits(dtype) // 8 for dtype, sizes in arrays(shape))


def _bits(dtype: str) -> int:
    """Of a number, which its name says: bf16, s4, f8e4m3fn."""
    if dtype == "pred":
        return 8
    width = re.match(r"[a-z]+(\d+)", dtype)
    return int(width.group(1)) if width else 0  # tokens are no numbers


def backend_config(instruction: Instruction) -> dict:
    """What the compiler's backend wrote down about an instruction; empty where it wrote nothing."""
    _, found, behind = instruction.attributes.partition("backend_config=")
    if not found or not behind.startswith("{"):
        return {}
    return json.JSONDecoder().raw_decode(behind)[0]
