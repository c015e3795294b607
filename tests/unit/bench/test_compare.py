"""What CI judges benchmarks by."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.compare import Measured, fallen, keep, load, main


def measured(ratio: float) -> Measured:
    return Measured(ratio, us=1 / ratio, ceiling_us=1.0, ceiling="the least it can cost")


def run_file(path: Path, **ratios: float) -> Path:
    """As pytest-benchmark writes it."""
    rows = [
        {
            "fullname": f"bench/bench_some.py::{name}",
            "extra_info": {"ratio": ratio, "us": 1 / ratio, "ceiling_us": 1.0, "ceiling": "the least"},
        }
        for name, ratio in ratios.items()
    ]
    path.write_text(json.dumps({"benchmarks": [*rows, {"fullname": "x::plain", "extra_info": {}}]}))
    return path


def test_only_a_ratio_that_fell_by_more_than_allowed_counts():
    old = {name: measured(1.0) for name in ("same", "faster", "slower", "much_slower", "gone")}
    new = {"same": 1.0, "faster": 2.0, "slower": 0.76, "much_slower": 0.74, "new": 0.1}
    assert fallen(old, {name: measured(ratio) for name, ratio in new.items()}) == ["much_slower"]


def test_a_run_is_read_without_benchmarks_that_have_no_ratio(tmp_path):
    assert {name: row.ratio for name, row in load(run_file(tmp_path / "run.json", a=0.5)).items()} == {
        "bench_some.py::a": 0.5
    }


def test_a_baseline_keeps_the_lines_of_benchmarks_that_did_not_run(tmp_path):
    baseline = tmp_path / "baseline.json"
    keep({"a": measured(0.5), "b": measured(0.25)}, baseline)
    keep({"b": measured(0.125)}, baseline)
    assert {name: row.ratio for name, row in load(baseline).items()} == {"a": 0.5, "b": 0.125}
    assert json.loads(baseline.read_text())["machine"]["python"]


@pytest.mark.parametrize(("ratio", "status"), [(0.5, 0), (0.4, 0), (0.37, 1)])
def test_the_command_ends_with_one_when_a_ratio_fell(tmp_path, capsys, ratio, status):
    old, new = run_file(tmp_path / "old.json", a=0.5), run_file(tmp_path / "new.json", a=ratio)
    assert main([str(old), str(new)]) == status
    assert ("FELL" in capsys.readouterr().out) == bool(status)


def test_the_command_can_want_every_benchmark(tmp_path):
    old, new = run_file(tmp_path / "old.json", a=0.5, b=1.0), run_file(tmp_path / "new.json", a=0.5)
    assert main([str(old), str(new)]) == 0
    assert main([str(old), str(new), "--all"]) == 1
