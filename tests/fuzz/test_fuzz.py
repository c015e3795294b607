"""Each target with some inputs of fixed seeds; that the harness finds what it is for; its parts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tests.fuzz import fast
from tests.fuzz.counts import Counts, Finding, save, table
from tests.fuzz.fields import join, split
from tests.fuzz.judge import Kind
from tests.fuzz.loop import Last, Loop
from tests.fuzz.mutate import Mutator
from tests.fuzz.shrink import shrink
from tests.fuzz.target import Shape, Target, agree, is_sampled, round_trips, sampling
from tests.fuzz.targets import TARGETS
from tests.fuzz.workers import Work, run_all
from tests.fuzz.world import DAY_AT, World, Worlds

SEED = 20260101
INPUTS = 150  # of a target in C or Python; a minute of CPU for all
WHOLE_INPUTS = 40  # of a whole node: a day passes
SLOW_INPUTS = 8  # of an entry that may take long
MAX_CPU_S = 0.05
SEEDS = [b"\x01\x02abc", b"\x0a\x03abc\x10\x05"]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_nothing_is_found(target: Target) -> None:
    loop = Loop(target, SEED)
    is_slow = target.max_cpu_s > MAX_CPU_S
    counts = loop.run(SLOW_INPUTS if is_slow else INPUTS if target.after is None else WHOLE_INPUTS)
    assert not counts.findings, "\n".join(f"{one.what}: {one.hex}" for one in counts.findings)
    assert counts.accepted, "not even a valid input is accepted: the target is broken"
    assert counts.inputs == counts.accepted + sum(counts.refused.values())


def test_names_of_targets_are_told_apart() -> None:
    names = [target.name for target in TARGETS]
    assert len(set(names)) == len(names)
    assert sum(target.first for target in TARGETS) >= 10


def test_entries_exist() -> None:
    """The table names real ones: a module of the package, and something in it."""
    import importlib

    for target in TARGETS:
        parts = target.entry.split(".")
        for size in range(len(parts), 0, -1):
            try:
                found: object = importlib.import_module(".".join(parts[:size]))
            except ModuleNotFoundError:
                continue
            for name in parts[size:]:
                found = getattr(found, name)
            break
        else:
            pytest.fail(f"{target.name}: there is no {target.entry}")


# -- planted faults: the harness finds each, by the compiled loop as well


class Refused(Exception):
    """How the planted decoders refuse."""


def raises(data: bytes) -> object:
    """Reads behind the end."""
    if data[:1] != b"\x01":
        raise Refused
    return data[2 + data[1]] if len(data) > 1 else None


def hangs(data: bytes) -> object:
    """Never gets further at a zero."""
    at = 0
    while at < len(data):
        at += 1 if data[at] else 0
    return at


def allocates(data: bytes) -> object:
    """Believes a length."""
    return bytearray((data[0] << 16) if data else 0)


def forgets(data: bytes) -> object:
    """Drops what is behind a zero."""
    return round_trips(data, lambda value: value.split(b"\0")[0])


def differs(data: bytes) -> object:
    """Takes a byte as signed."""
    return agree(lambda: [byte - 256 if byte > 127 else byte for byte in data], lambda: list(data))


def slow(data: bytes) -> object:
    """Takes twice the time allowed, on any machine."""
    end = time.thread_time() + (0.1 if data.count(b"\xff") > 1 else 0.0)
    while time.thread_time() < end:
        pass
    return None


PLANTED: dict[str, tuple[Callable[[bytes], object], Kind]] = {
    "raises IndexError": (raises, Kind.RAISED),
    "hangs": (hangs, Kind.HANGS),
    "allocates": (allocates, Kind.LARGE),
    "does not round-trip": (forgets, Kind.RAISED),
    "differs from its twin": (differs, Kind.RAISED),
    "is slow": (slow, Kind.SLOW),
}


@pytest.fixture(scope="module")
def compiled() -> ModuleType:
    module = fast.load()
    assert module is not None, "there is a compiler: the kernels were built by it"
    return module


@pytest.mark.parametrize("name", PLANTED)
@pytest.mark.parametrize("in_c", [False, True], ids=["python", "compiled"])
def test_a_planted_fault_is_found(
    name: str, in_c: bool, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, kind = PLANTED[name]
    monkeypatch.setattr("tests.fuzz.judge.HANG_TICK_S", 0.3)
    target = Target(
        *("planted", "tests.fuzz", lambda: SEEDS, check, (Refused,), Shape.BYTES),
        longest=24,
        spare_bytes=65536,
    )
    loop = Loop(target, SEED, request.getfixturevalue("compiled") if in_c else None)
    counts = loop.run(20_000, to_first=True)
    found = counts.findings[0]
    assert found.kind == kind.value
    again = Loop(target, SEED).feed([bytes.fromhex(found.hex)])
    assert [one.kind for one in again.findings] == [kind.value], "what was printed does not show it"


def test_a_node_that_stops_working_is_found_with_its_input() -> None:
    """An input that breaks the node is fed among others, and shows only later."""
    bad = b"\x0a\x03bad"

    def feed(world: World, data: bytes) -> object:
        if data.startswith(bad):
            world.node.core.responders.clear()
        return None

    worlds = Worlds(feed)
    target = Target(
        *("planted", "tests.fuzz", list, worlds.check, (), Shape.PROTOBUF),
        after=worlds.after,
        reset=worlds.reset,
    )
    counts = Loop(target, SEED).feed([b"good", b"better", bad + b" and more", b"good"])
    assert [bytes.fromhex(found.hex) for found in counts.findings] == [bad]
    assert "no longer works" in counts.findings[0].what


def test_an_earlier_input_is_blamed() -> None:
    """One that lets the node fail at its next sweep."""

    def feed(world: World, data: bytes) -> object:
        if data == b"bad":
            world.net.after(1.0, world.node.core.responders.clear)
        return None

    worlds = Worlds(feed, look_every=8)
    for data in (b"first", b"bad", b"good"):
        worlds.check(data)
        worlds.after(data)
    for number in range(4):
        worlds.check(b"%d" % number)
        worlds.after(b"%d" % number)
    worlds.check(b"last")
    with pytest.raises(AssertionError) as found:
        worlds.after(b"last")
    assert getattr(found.value, "culprit", None) == b"bad"


def test_what_shows_after_a_day_is_blamed() -> None:
    """An input that lets the node fail hours later: no probe before that sees it."""

    def feed(world: World, data: bytes) -> object:
        if data == b"bad":
            world.net.after(20 * 3600.0, world.node.core.responders.clear)
        return None

    worlds = Worlds(feed)
    inputs = [*(b"%d" % number for number in range(DAY_AT - 2)), b"bad"]
    for data in inputs:
        worlds.check(data)
        worlds.after(data)
    worlds.check(b"last")
    with pytest.raises(AssertionError) as found:
        worlds.after(b"last")
    assert getattr(found.value, "culprit", None) == b"bad"


def test_a_process_that_dies_is_told_with_its_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target is a process of its own; the latest input outlives it."""
    target = next(one for one in TARGETS if one.name == "ping")
    monkeypatch.setattr("tests.fuzz.workers.sys.executable", "/bin/false")
    monkeypatch.setattr("tests.fuzz.workers.OUT", tmp_path)
    Last(tmp_path / "ping.last", 100).note(b"the last one")
    (counts,) = run_all([target], Work(10, float("inf"), 1), 1)
    assert [(one.kind, bytes.fromhex(one.hex)) for one in counts.findings] == [("died", b"the last one")]


# -- the entry alone


def test_a_fault_of_the_entry_alone_is_found(compiled: ModuleType) -> None:
    """The check feeds it otherwise, and sees nothing; the inputs that no check sees are counted apart."""
    target = Target(
        *("planted", "tests.fuzz", lambda: SEEDS, lambda data: None, (Refused,), Shape.BYTES),
        longest=24,
        spare_bytes=65536,
        quick=raises,
    )
    counts = Loop(target, SEED, compiled).run(20_000, to_first=True)
    found = counts.findings[0]
    assert (found.kind, found.what[:10]) == (Kind.RAISED.value, "IndexError")
    with pytest.raises(IndexError):
        raises(bytes.fromhex(found.hex))
    assert counts.checked < counts.inputs


def test_a_sample_of_the_inputs_is_checked_the_same_each_time(compiled: ModuleType) -> None:
    def run() -> Counts:
        seen.clear()
        target = Target(
            *("planted", "tests.fuzz", lambda: SEEDS, seen.append, (Refused,), Shape.PROTOBUF),
            longest=200,
            quick=lambda data: None,
        )
        return Loop(target, SEED, compiled).run(40_000)

    seen: list[bytes] = []
    counts, first = run(), list(seen)
    assert not counts.findings
    assert counts.inputs == counts.accepted
    assert 60 < counts.checked < 1000
    assert run().checked == counts.checked
    assert sorted(set(seen)) == sorted(set(first))


@pytest.mark.parametrize(
    ("shape", "framing"), [(Shape.VARINT_FRAMES, 1), (Shape.NOISE, 2), (Shape.YAMUX, 12)]
)
def test_frames_are_kept_mostly_whole(compiled: ModuleType, shape: Shape, framing: int) -> None:
    """Lengths are put right, so that what stands behind them is reached; some lie."""
    heads = {1: b"\x05", 2: b"\0\x05", 12: bytes(11) + b"\x05"}
    one = heads[framing] + b"inner"
    maker = compiled.FastMutator(
        5, [one * 3], is_message=False, words=[], longest=400, max_kept=4, framing=framing
    )
    made = [maker.next() for _ in range(2000)]
    whole = sum(_is_framed(data, framing) for data in made)
    assert 400 < whole < 1900
    assert len(set(made)) > 1000


def _is_framed(data: bytes, framing: int) -> bool:
    at = 0
    while at + framing <= len(data):
        head = data[at : at + framing]
        size = head[0] if framing == 1 else int.from_bytes(head[-4:], "big")
        if framing == 12 and head[1]:
            size = 0
        at += framing + size
    return at == len(data)


# -- parts


@pytest.mark.parametrize("shape", Shape)
def test_inputs_are_the_same_for_the_same_seed(shape: Shape) -> None:
    one, other = (Mutator(3, SEEDS, shape, 200) for _ in range(2))
    made = [one.next() for _ in range(300)]
    assert made == [other.next() for _ in range(300)]
    assert len(set(made)) > 200
    assert max(map(len, made)) <= 200


def test_compiled_inputs_are_the_same_for_the_same_seed(compiled: ModuleType) -> None:
    def maker() -> Mutator:
        made: Mutator = compiled.FastMutator(
            3, SEEDS, is_message=True, words=[b"word"], longest=200, max_kept=4
        )
        return made

    one, other = maker(), maker()
    for _ in range(20):
        one.keep(b"\x0a\x05inner")
        other.keep(b"\x0a\x05inner")
    made = [one.next() for _ in range(3000)]
    assert made == [other.next() for _ in range(3000)]
    assert len(set(made)) > 1500
    assert max(map(len, made)) <= 200


def test_fields_are_joined_as_they_were_split() -> None:
    message = join([(1, b"abc"), (2, 300), (15, b""), (16, 2**64 - 1)])
    assert split(message) == [(1, b"abc"), (2, 300), (15, b""), (16, 2**64 - 1)]
    assert split(b"\x07") == split(b"\x0a\x05ab") == split(b"\xff" * 11) == []


def test_a_finding_is_shrunk() -> None:
    long = b"padding" * 30 + b"\x05BAD\x06" + b"more" * 20
    assert shrink(long, lambda data: b"BAD" in data) == b"BAD"
    assert shrink(b"xyz", lambda data: len(data) == 3) == bytes(3)


def test_a_twin_is_compared_on_a_sample_alone_when_inputs_are_many() -> None:
    inputs = [b"%d" % number for number in range(2000)]
    try:
        sampling.every = False
        assert 50 < sum(map(is_sampled, inputs)) < 300
    finally:
        sampling.every = True
    assert all(map(is_sampled, inputs))


def test_counts_are_kept_and_shown(tmp_path: Path) -> None:
    counts = Counts("a-target", "an.entry", True, inputs=5, accepted=2, seconds=0.5)
    counts.refused.update(PeerFault=3)
    counts.findings.append(Finding("raised", "KeyError", "6162", 1, 4))
    save([counts], tmp_path)
    assert Counts.from_json(json.loads((tmp_path / "counts.json").read_text())[0]) == counts
    assert (tmp_path / "a-target-raised-0.bin").read_bytes() == b"ab"
    assert "a-target*" in table([counts])
    other = Counts("a-target", "an.entry", True, inputs=1, findings=counts.findings)
    other.refused.update(PeerFault=1)
    counts.add(other)
    assert (counts.inputs, counts.refused["PeerFault"], len(counts.findings)) == (6, 4, 1)
