"""The report's experiments: their data, their trainings, the table and the pictures."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import funcnet as fn

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import report  # noqa: E402
import report_table  # noqa: E402

FIGURES = sorted(report.EXPERIMENTS)


def command(folder: Path) -> str:
    """What a tiny run prints."""
    options = ["--draws", "2", "--epochs", "3", "--seed", "5", "--figures", str(folder), "--workers", "2"]
    line = [sys.executable, "-W", "error", str(EXAMPLES / "report.py"), *options]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "6/6" in done.stderr
    return done.stdout


def cells(output: str) -> list[list[str]]:
    """The table's rows."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in output.splitlines() if line[:1] == "|"]


@pytest.mark.slow
def test_a_run_prints_the_table_and_draws_the_figures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    output = command(tmp_path / "new" / "figures")
    lines = [line for line in output.splitlines() if line.startswith("|")]
    header, rule, *rows = cells(output)
    assert len({len(line) for line in lines}) == 1
    assert all(re.fullmatch("-+", cell) for cell in rule)
    assert [row[0][0] + row[2] for row in rows] == ["2train", "2test", "3train", "3test", "4train", "4test"]
    reported = [row[header.index("reported")] for row in rows]
    assert reported == ["0.3 %", "0.5 %", "10.2 %", "11.0 %", "0.5 %", "0.0 %"]
    pictures = {path.name: path for path in (tmp_path / "new" / "figures").iterdir()}
    assert sorted(pictures) == ["figure1.png", "figure2.png", "figure3.png", "figure4.png", "loss.png"]
    for path in pictures.values():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert 5_000 < path.stat().st_size < 150_000

    # This one process finds what several did.
    one_process = {figure: [report.train(figure, draw, seed=5, epochs=3) for draw in (0, 1)] for figure in FIGURES}
    seconds = header.index("seconds each")
    again = cells(report.table(one_process))
    assert [row[:seconds] for row in again] == [row[:seconds] for row in (header, rule, *rows)]


@pytest.mark.parametrize(
    ("reported", "where", "verdict", "met"),
    [
        (0.0, "below our range", "worse by 0.40", "0 of 4"),
        (0.3, "within our range", "worse by 0.10", "2 of 4"),
        (0.4, "within our range", "as good or better", "2 of 4"),
        (2.0, "above our range", "as good or better", "4 of 4"),
    ],
)
def test_the_table_says_where_a_reported_error_is_missed(reported: float, where: str, verdict: str, met: str) -> None:
    cells = report_table.compare(reported, np.array([0.5, 0.3, 1.0, 0.3]))
    assert cells["our median"] == "0.40 %"
    assert cells["our range"] == "0.3 to 1.0 %"
    assert (cells["reported is"], cells["our median is"], cells["draws that meet it"]) == (where, verdict, met)


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"matplotlib.*\[examples\]"):
        report.main(["--draws", "1"])


@pytest.mark.parametrize("options", [["--draws", "0"], ["--epochs", "-1"], ["--seed", "-1"], ["--seed", "a"]])
def test_it_refuses_options_out_of_range(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        report.main(options)
    assert options[0] in capsys.readouterr().err


@pytest.mark.parametrize("figure", FIGURES)
def test_a_draw_has_a_thousand_points_to_train_and_two_hundred_to_test(figure: int) -> None:
    train, test = report.draw_points(report.EXPERIMENTS[figure], report.draw_key(0, 0))
    assert train.xy.shape == (1_000, 2)
    assert test.xy.shape == (200, 2)
    for points in (train, test):
        assert points.label.shape == points.xy.shape[:1]
        assert set(np.unique(points.label)) == {0, 1}
    x = report.normalised(train.xy, by=train)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(x.std(axis=0), 1, rtol=1e-5)


def test_left_of_the_line_is_class_0() -> None:
    train, _ = report.draw_points(report.EXPERIMENTS[2], report.draw_key(1, 2))
    at_this_height = train.xy[:, 1] / 4  # where the line with slope 4 is
    assert np.array_equal(train.label == 0, train.xy[:, 0] <= at_this_height)
    assert 0.45 < train.label.mean() < 0.55


def test_the_disk_round_the_origin_is_class_0_and_an_eighth_of_the_square() -> None:
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    assert np.array_equal(report.disk(corners) > 0, [False, True, True, True])
    axis = (np.arange(1_000) + 0.5) / 1_000
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    inside = report.disk(grid) <= 0
    assert np.array_equal(inside, 2 * np.pi * np.sum(grid**2, axis=1) <= 1)
    assert inside.mean() == pytest.approx(1 / 8, abs=1e-4)
    train, test = report.draw_points(report.EXPERIMENTS[3], report.draw_key(1, 2))
    assert min(train.xy.min(), test.xy.min()) >= 0
    assert max(train.xy.max(), test.xy.max()) <= 1
    assert np.mean(train.label == 0) == pytest.approx(1 / 8, abs=0.04)


def test_targets_are_soft_or_one_hot() -> None:
    label = np.array([0, 1])
    soft, one_hot = (report.encoded(label, report.EXPERIMENTS[figure].targets) for figure in (2, 4))
    np.testing.assert_allclose(soft, [[0.8, 0.2], [0.2, 0.8]], rtol=1e-6)
    np.testing.assert_array_equal(one_hot, [[1, 0], [0, 1]])


@pytest.mark.parametrize("figure", FIGURES)
def test_a_training_follows_from_its_seed_and_its_draw(figure: int) -> None:
    first, again, other_draw, other_seed = (
        report.train(figure, draw, seed, epochs=2) for draw, seed in ((0, 0), (0, 0), (1, 0), (0, 1))
    )
    assert np.array_equal(first.losses, again.losses)
    assert first.errors == again.errors
    for a, b in zip(fn.tree.leaves(first.params), fn.tree.leaves(again.params), strict=True):
        assert np.array_equal(a, b)
    for other in (other_draw, other_seed):
        assert not np.array_equal(first.losses, other.losses)


def test_figures_3_and_4_have_the_same_data() -> None:
    key = report.draw_key(0, 3)
    for a, b in zip(*(report.draw_points(report.EXPERIMENTS[figure], key) for figure in (3, 4)), strict=True):
        assert np.array_equal(a.xy, b.xy)


def test_the_linear_layer_reaches_the_least_squares_solution() -> None:
    experiment = report.EXPERIMENTS[3]
    train, _ = report.draw_points(experiment, report.draw_key(0, 0))
    x = report.normalised(train.xy, by=train).astype(np.float64)
    x1 = np.column_stack([x, np.ones(len(x))])
    target = report.encoded(train.label, experiment.targets)
    _, squares, _, _ = np.linalg.lstsq(x1, target, rcond=None)
    result = report.train(3, 0, 0, epochs=1_000)
    assert result.losses[-1] == pytest.approx(squares.sum() / target.size, rel=1e-4)


def test_the_nonlinear_network_learns_the_disk() -> None:
    result = report.train(4, 0, 0, epochs=100)
    assert result.losses[-1] < 0.3 * result.losses[0]
    assert max(result.errors) < 3
