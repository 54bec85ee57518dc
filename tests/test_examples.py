"""The examples, briefly: what they compute, print, draw and keep."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import funcnet as fn
from funcnet import tree
from tests.exports.running import has_compiler, needs_compiler

EXAMPLES = Path(__file__).parents[1] / "examples"
sys.path.insert(0, str(EXAMPLES))

import characters  # noqa: E402
import classifiers  # noqa: E402
import common  # noqa: E402
import convnet  # noqa: E402
import device  # noqa: E402
import digits  # noqa: E402
import ensemble  # noqa: E402
import heteroscedastic  # noqa: E402
import sequences  # noqa: E402
import siamese  # noqa: E402

KEY = fn.key(5)


def command(script: str, folder: Path, *options: str) -> str:
    """What a tiny run prints; it draws one picture."""
    for name in (
        ("matplotlib", "tqdm")
        if script in ("heteroscedastic", "ensemble", "device", "sequences")
        else ("matplotlib", "tqdm", "sklearn")
    ):
        pytest.importorskip(name)
    line = [sys.executable, "-W", "error", str(EXAMPLES / f"{script}.py"), "--epochs", "2", "--seed", "5"]
    done = subprocess.run(
        [*line, "--figures", str(folder / "new"), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "100%" in done.stderr  # the progress bar
    (picture,) = (folder / "new").iterdir()
    assert picture.name == f"{script}.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert 5_000 < picture.stat().st_size < 200_000
    return done.stdout


def cells(output: str) -> list[list[str]]:
    """The rows of the table under its head, whose lines are of one length."""
    lines = [line for line in output.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.slow
def test_digits(tmp_path: Path) -> None:
    model = tmp_path / "kept" / "model.npz"
    output = command("digits", tmp_path, "--draws", "2", "--model", str(model))
    rows = cells(output)
    native = ["FuncnetClassifier with jit=True"] * has_compiler()
    assert [row[0].split(",")[0] for row in rows] == ["funcnet", "FuncnetClassifier", *native, "MLPClassifier"]
    assert "read back, it gives the same bits for all 450 test images" in output
    like, _ = digits.net.init(fn.key(0), (64,))
    found = fn.load(model, like)
    assert found.metadata["epochs"] == 2
    train_set, test_set = common.digit_images(fn.fold_in(KEY, 0))
    params = digits.train(fn.fold_in(KEY, 0), train_set, epochs=2).params
    for a, b in zip(tree.leaves(found.params), tree.leaves(params), strict=True):
        np.testing.assert_array_equal(a, b)
    again = [digits.train_net(fn.fold_in(KEY, i), *common.digit_images(fn.fold_in(KEY, i)), epochs=2) for i in range(2)]
    assert digits.score(params, test_set) == again[0].accuracy
    assert rows[0][1] == f"{50 * sum(r.accuracy for r in again):.1f} %"


def test_digits_are_told_apart() -> None:
    pytest.importorskip("sklearn")
    train_set, test_set = common.digit_images(KEY)
    assert (
        len({row.tobytes() for row in np.concatenate([train_set.pixels, test_set.pixels])}) == 1797
    )  # none is in both
    result = digits.train_net(KEY, train_set, test_set, epochs=30)
    assert result.accuracy > 0.96
    assert result.losses[-1] < 0.05 * result.losses[0]
    for estimator in digits.estimators(KEY, epochs=30).values():
        found = classifiers.train_estimator(estimator, train_set, test_set)
        assert abs(found.accuracy - result.accuracy) < 0.02
        assert len(found.losses) == len(result.losses) == 30


def test_all_classifiers_are_of_the_same_sizes() -> None:
    pytest.importorskip("sklearn")
    params, _ = digits.net.init(KEY, (64,))
    ours, *_, theirs = digits.estimators(KEY, epochs=1).values()
    train_set, test_set = common.digit_images(KEY)
    for estimator in (ours, theirs):
        classifiers.train_estimator(estimator, train_set, test_set)
    for weights in (tree.leaves(params), tree.leaves(ours.params_), theirs.coefs_):
        shapes = [leaf.shape for leaf in weights if leaf.ndim == 2]
        assert shapes == [(64, digits.UNITS), (digits.UNITS, digits.UNITS), (digits.UNITS, 10)]


@pytest.mark.slow
def test_convnet(tmp_path: Path) -> None:
    output = command("convnet", tmp_path, "--draws", "2")
    rows = cells(output)
    assert [row[0].split(",")[0] for row in rows[:3]] == ["funcnet", "funcnet", "MLPClassifier"]
    again = []
    for number in range(2):
        key = fn.fold_in(KEY, number)
        again.append(convnet.train_ours(key, convnet.net, *common.digit_images(key), epochs=2).accuracy)
    assert rows[0][1] == f"{50 * sum(again):.1f} %"
    assert ("PyTorch is not installed" in output) == (len(rows) == 3)


def test_convolutions_tell_digits_apart_better_with_fewer_params() -> None:
    pytest.importorskip("sklearn")
    sets = common.digit_images(KEY)
    found, plain = (convnet.train_ours(KEY, net, *sets, epochs=15) for net in (convnet.net, convnet.mlp))
    assert found.accuracy > max(plain.accuracy, 0.975)
    counts = [sum(p.size for p in tree.leaves(params)) for params in (found.params, plain.params)]
    assert 4 * counts[0] < counts[1]
    summary = fn.summary(convnet.net, (8, 8, 1))
    assert summary.parameters == counts[0] == 9 * 16 + 16 + 9 * 16 * 32 + 32 + 2 * 2 * 32 * 10 + 10
    assert summary.multiply_adds == 8 * 8 * 9 * 16 + 4 * 4 * 9 * 16 * 32 + 2 * 2 * 32 * 10


def test_convnet_in_torch_is_the_same_network() -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    result = convnet.train_torch(KEY, *common.digit_images(KEY), epochs=8)
    assert result.accuracy > 0.95
    assert len(result.losses) == 8


@pytest.mark.parametrize("script", [characters, convnet, sequences], ids=lambda script: str(script.__name__))
def test_what_users_copy_is_short(script: Any) -> None:
    """From the imports to the training."""
    core, rest = Path(script.__file__).read_text().split("# This was all.")
    code = core.split('"""', 2)[2]
    assert "fn.fit(" in code
    assert "def main" in rest
    assert len([line for line in code.splitlines() if line.strip()]) <= 40


@pytest.mark.slow
def test_heteroscedastic(tmp_path: Path) -> None:
    rows = cells(command("heteroscedastic", tmp_path))
    assert [row[0] for row in rows][-1] == "The truth"
    assert len(rows) == 5
    assert [row[:3] for row in rows[2:4]] == [
        [f"Two quantiles, {kind}", "-", "-"] for kind in ("widened", "as they are")
    ]


def test_the_quantiles_are_learnt() -> None:
    points, others = (heteroscedastic.draw_points(fn.fold_in(KEY, name), 2_000) for name in ("train", "test"))
    found = heteroscedastic.predict_quantiles(
        heteroscedastic.train(heteroscedastic.quantile_loss, None, KEY, points, epochs=100), others.x
    )
    for end, fraction in zip(found, (0.025, 0.975), strict=True):
        for side in (others.x < 0, others.x > 0):
            assert np.mean(others.y[side] < end[side]) == pytest.approx(fraction, abs=0.03)


def test_a_widened_interval_holds_95_of_100_points() -> None:
    points, new, others = (
        heteroscedastic.draw_points(fn.fold_in(KEY, name), n)
        for name, n in (("train", 400), ("new", 10_000), ("others", 30_000))
    )
    params = heteroscedastic.train(heteroscedastic.quantile_loss, None, KEY, points, epochs=3)

    def share_in(ends: heteroscedastic.Interval) -> float:
        return float(np.mean((ends.low < new.y) & (new.y < ends.high)))

    shares: list[float] = []
    for i in range(0, len(others.x), 300):  # the guarantee is of the mean over all that may be held out
        held_out = heteroscedastic.Points(*(column[i : i + 300] for column in others))
        by = heteroscedastic.widening(params, held_out)
        shares.append(share_in(heteroscedastic.predict_widened(params, new.x, by)))
    assert share_in(heteroscedastic.predict_quantiles(params, new.x)) < 0.8
    assert np.mean(shares) == pytest.approx(0.95, abs=0.006)


def test_the_variance_is_learnt() -> None:
    points = heteroscedastic.draw_points(KEY, 1_000)
    x = np.array([[-2.0], [0.0], [2.0]], np.float32)
    predicted = heteroscedastic.predict(
        heteroscedastic.train(heteroscedastic.loss_net, None, KEY, points, epochs=150), x
    )
    np.testing.assert_allclose(predicted.mean, heteroscedastic.true_mean(x), atol=0.25)
    np.testing.assert_allclose(predicted.deviation, heteroscedastic.true_deviation(x), rtol=0.3)
    one = heteroscedastic.predict_one_head(
        heteroscedastic.train(heteroscedastic.one_head, fn.mse(), KEY, points, epochs=150), x, points
    )
    assert np.ptp(one.deviation) == 0


def test_the_truth_covers_95_per_cent() -> None:
    points = heteroscedastic.draw_points(KEY, 20_000)
    truth = heteroscedastic.Predicted(heteroscedastic.true_mean(points.x), heteroscedastic.true_deviation(points.x))
    row = heteroscedastic.scores("truth", truth, points)
    assert float(row["of all in its 95 % interval"].split()[0]) == pytest.approx(95, abs=0.6)
    entropy = np.mean(np.log(truth.deviation)) + (1 + np.log(2 * np.pi)) / 2
    assert float(row["negative log-likelihood"]) == pytest.approx(entropy, abs=0.03)


@pytest.mark.slow
def test_siamese(tmp_path: Path) -> None:
    rows = cells(command("siamese", tmp_path))
    ours, pixels = (float(row[2]) for row in rows)
    assert ours > pixels + 0.05


def test_pairs_are_half_the_same_and_never_an_image_with_itself() -> None:
    pytest.importorskip("sklearn")
    train_set, test_set = common.digit_images(KEY)
    assert len(test_set.digit) == 450
    pairs = siamese.draw_pairs(KEY, test_set, 400)
    digit = {pixels.tobytes(): k for pixels, k in zip(*test_set, strict=True)}
    same = [digit[a.tobytes()] == digit[b.tobytes()] for a, b in zip(pairs.left, pairs.right, strict=True)]
    assert np.array_equal(same, pairs.same[:, 0] == 1)
    assert sum(same) == 200
    assert not any(np.array_equal(a, b) for a, b in zip(pairs.left, pairs.right, strict=True))
    assert not {row.tobytes() for row in train_set.pixels} & digit.keys()


def test_a_pair_and_its_mirror_image_are_as_alike() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 9, 64), np.float32)
    params, _ = siamese.net.init(KEY, (64,), (64,))
    assert list(params) == ["left", "logit"]
    one, other = (siamese.net.apply(params, *pair) for pair in ((a, b), (b, a)))
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_the_curve_and_the_threshold_are_those_of_the_book() -> None:
    pytest.importorskip("sklearn")
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    same = (rng.random((500, 1)) < 0.5).astype(np.float32)
    score = same[:, 0] + rng.normal(size=500)
    pairs = siamese.Pairs(same, same, same)
    alarms, hits = siamese.rates(score, pairs)
    assert np.trapezoid(hits, alarms) == pytest.approx(roc_auc_score(same[:, 0], score), abs=1e-12)
    right = [np.mean((score > t) == (same[:, 0] == 1)) for t in score - 1e-6]
    assert np.mean((score > siamese.best_threshold(score, pairs)) == (same[:, 0] == 1)) == max(right)


@pytest.mark.slow
def test_ensemble(tmp_path: Path) -> None:
    assert [row[0].split(",")[0] for row in cells(command("ensemble", tmp_path))] == ["data", "gap", "data", "beyond"]


def test_members_of_an_ensemble_disagree_where_there_are_no_data() -> None:
    points = ensemble.draw_points(KEY)
    assert not ((points.x > -0.5) & (points.x < 0.5)).any()
    params = ensemble.train(KEY, points, members=8, epochs=300)
    spread = ensemble.predict(params, np.array([[-1.2], [0.0], [1.0]], np.float32)).spread[:, 0]
    assert spread[1] > 2 * max(spread[0], spread[2])


def test_a_sweep_gives_what_each_learning_rate_gives_alone() -> None:
    points = ensemble.draw_points(KEY)
    losses = ensemble.sweep(KEY, points, epochs=20)
    params, _ = ensemble.net.init(fn.fold_in(KEY, "weights"), (1,))
    step = fn.train_step(ensemble.net, fn.mse(), fn.adam(float(ensemble.RATES[3])))
    state, loss = step.init(params), None
    for _ in range(20):
        params, state, loss = step(params, state, *points)
    assert losses[3] == loss


@pytest.mark.slow
def test_sequences(tmp_path: Path) -> None:
    output = command("sequences", tmp_path)
    gru, mean = (float(row[1].split()[0]) for row in cells(output)[:2])
    assert gru > 85
    assert abs(mean - 50) < 5
    assert "the GRU's logits are the same bits" in output


def test_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("tqdm")
    text, unseen = characters.prose()
    assert len(text) > 8 * len(unseen) > 20_000
    monkeypatch.setattr(characters, "prose", lambda: (text[:3_000], unseen[:600]))
    characters.main(["--epochs", "2", "--seed", "5", "--figures", str(tmp_path)])
    output, told = capsys.readouterr()
    assert "100%" in told  # the progress bar
    assert (tmp_path / "characters.png").read_bytes().startswith(b"\x89PNG")
    bits, counted = (float(row[1]) for row in cells(output)[:2])
    assert max(bits, counted) < np.log2(len(characters.LETTERS))
    assert len(output.partition("\nThe network")[2].rstrip("\n")) == 400


def test_a_text_that_repeats_itself_is_written_on() -> None:
    codes = np.array([characters.LETTERS.index(letter) for letter in "do re mi fa. " * 120])
    params = characters.train(KEY, codes, epochs=12).params
    assert characters.write(KEY, params, "do re mi", 18, temperature=0.1) == "do re mi fa. do re mi fa. "


def test_the_last_bump_is_the_answer() -> None:
    series = sequences.draw_series(KEY, 400)
    found = []
    for x, length, rises in zip(*series, strict=True):
        assert 20 <= length <= sequences.TIMES
        assert np.array_equal(np.isnan(x[:, 0]), np.arange(sequences.TIMES) >= length)
        fits = x[: length // 6 * 6, 0].reshape(-1, 6)[:, :5] @ np.linspace(-1, 1, 5)
        last = max(np.argsort(np.abs(fits))[-3:])  # of the three that are least like noise
        found.append((fits[last] > 0) == (rises[0] == 1))
    assert np.mean(found) > 0.98
    assert np.mean(series.rises) == pytest.approx(0.5, abs=0.1)


def test_the_padding_of_training_series_is_never_read() -> None:
    series = sequences.draw_series(KEY, 256)
    other = series._replace(x=np.nan_to_num(series.x, nan=7.0))
    one, two = (sequences.train(KEY, data, epochs=2) for data in (series, other))
    assert np.isfinite(one.history["loss"]).all()
    np.testing.assert_array_equal(one.history["loss"], two.history["loss"])
    for a, b in zip(tree.leaves(one.params), tree.leaves(two.params), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@needs_compiler
def test_device(tmp_path: Path) -> None:
    for row in cells(command("device", tmp_path)):
        assert row[1][:6] == row[2][:6]


@needs_compiler
def test_the_device_learns_as_python_does() -> None:
    x, target = device.draw_data(KEY)
    params, _ = device.net.init(KEY, (2,))
    there, here = device.on_the_device(params, x, target, 200), device.in_python(params, x, target, 200)
    np.testing.assert_allclose(there.losses, here.losses, rtol=1e-4)
    np.testing.assert_allclose(there.params, here.params, atol=1e-4)
    assert there.losses[-1] < there.losses[0] / 2


@pytest.mark.parametrize(
    "script",
    [characters, convnet, device, digits, ensemble, heteroscedastic, sequences, siamese],
    ids=lambda script: str(script.__name__),
)
def test_it_says_what_to_install(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(SystemExit, match=r"matplotlib.*\[examples\]"):
        script.main([])


SCRIPTS = sorted(EXAMPLES.glob("*.py"))
CORES = [path for path in SCRIPTS if "fn.train_step(" in path.read_text() or "fn.sgd_step(" in path.read_text()]


@pytest.mark.parametrize("path", CORES, ids=lambda path: path.stem)
def test_what_an_example_is_about_stands_on_top_in_forty_lines(path: Path) -> None:
    """Data, network, training and prediction, behind the imports; empty lines and docstrings are not counted."""
    head, found, rest = path.read_text().partition("# This was all. Below: ")
    assert found
    source = ast.parse(head)
    body = [node for node in source.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    lines = {line for node in body for line in range(node.lineno, (node.end_lineno or 0) + 1)}
    for node in ast.walk(source):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node):
            lines -= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    assert len([line for line in lines if head.splitlines()[line - 1].strip()]) <= 40
    assert "_step(" in head
    assert "def main(" in rest
    assert not any(word in head for word in ("argparse.", "matplotlib.", "markdown("))


@pytest.mark.parametrize("options", [["--epochs", "0"], ["--seed", "-1"], ["--epochs", "a"]])
def test_it_refuses_options_out_of_range(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        siamese.main(options)
    assert re.search(options[0], capsys.readouterr().err)


def test_a_training_is_fed_from_any_layout_and_from_a_file() -> None:
    from bench import feeding

    said: list[str] = []
    text = feeding.measure(1, np.dtype(np.float32), said.append, rows=600)
    assert [row[0].split()[0] for row in cells(text)] == ["C-contiguous", "array", "columns", "columns"]
    assert len(said) == 5
