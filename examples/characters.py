"""What comes next? A small transformer reads the prose of this repository's docs and continues it letter by letter.

    python examples/characters.py                 # about a minute
    python examples/characters.py --epochs 1      # a quick look

The network sees up to 64 characters and says, at each of them, which one comes next. Two blocks of causal attention are
one small dict, put into the network twice. The base line counts which letter follows which two; where PyTorch is
installed, its transformer of the same size is trained on the same text. All are measured in bits a character on
paragraphs that none of them has seen, and the network writes a few lines of its own at the end. With 70 thousand
characters and a minute it learns to spell words, mostly, and which go together, not what they mean.
It needs the extra `examples`: pip install -e ".[examples]"
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import common
import numpy as np
from common import Array, Labels, Losses, markdown, timed

import funcnet as fn

LETTERS = "\n !\"'(),-./0123456789:;=?ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
LENGTH, WIDTH, HEADS = 64, 64, 4
BATCH, STRIDE, RATE = 16, 16, 0.003  # sequences begin every 16 characters: each character is learned from four times

block = fn.network(
    {"x": fn.identity(), "norm": fn.layer_norm(), "look back": fn.attention(HEADS, causal=True), "seen": fn.add(),
     "norm again": fn.layer_norm(), "think": [fn.linear(4 * WIDTH), fn.gelu(), fn.linear(WIDTH)], "y": fn.add()},
    {"x": ["norm", "seen"], "norm": ["look back"], "look back": ["seen"],
     "seen": ["norm again", "y"], "norm again": ["think"], "think": ["y"]},
)  # fmt: skip
letters, logits = fn.embedding(len(LETTERS), WIDTH, table_init=fn.normal(0.02)), fn.linear(len(LETTERS))
net = fn.serial(letters, fn.positional_embedding(), block, block, fn.layer_norm(), logits)


def train(key: fn.Key, text: Labels, epochs: int, progress: Any = None) -> fn.Fit[Any]:
    """The params and the losses: at each place of a sequence the target is the character after it."""
    windows = np.lib.stride_tricks.sliding_window_view(text, LENGTH + 1)[::STRIDE]
    params, _ = net.init(fn.fold_in(key, "weights"), (LENGTH,))
    rate = fn.cosine_decay_schedule(RATE, epochs * -(-len(windows) // BATCH))
    step = fn.train_step(net, fn.softmax_cross_entropy(), fn.adam(rate))
    data = windows[:, :-1], windows[:, 1:]
    return fn.fit(step, params, data, epochs, BATCH, fn.fold_in(key, "order"), progress=progress)


def write(key: fn.Key, params: Any, start: str, count: int, temperature: float = 0.6) -> str:
    """The start, and so many characters drawn one after another; at a lower temperature the likely ones come more."""
    rng, codes = np.random.default_rng(key), [LETTERS.index(letter) for letter in start]
    for _ in range(count):
        seen, last = np.zeros((1, LENGTH), int), codes[-LENGTH:]
        seen[0, : len(last)] = last  # what stands behind the last character is not looked at
        scores = net.apply(params, seen)[0, len(last) - 1] / temperature
        chances = np.exp(scores - scores.max())
        codes.append(int(rng.choice(len(LETTERS), p=chances / chances.sum())))
    return "".join(LETTERS[code] for code in codes)


# This was all. Below: the text, what the network is compared with, the table and the picture.

DOCS = Path(__file__).parents[1] / "docs"


class Trained(NamedTuple):
    """A name, the loss of each epoch in bits, the bits of each character of the unseen text, the seconds it took."""

    name: str
    losses: Losses
    bits: Array
    seconds: float


def prose() -> tuple[Labels, Labels]:
    """Paragraphs and items of the docs to learn from and, each tenth, to test with; without code, tables and links."""
    found: list[str] = []
    for file in (*sorted(DOCS.rglob("*.md")), *(DOCS.parent / name for name in ("README.md", "CHANGELOG.md"))):
        page = re.sub(r"^```.*?^```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for paragraph in re.split(r"\n\n|\n(?=- )", page):
            line = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
            line = "".join(letter for letter in line if letter in LETTERS)
            if len(line) > 80 and not paragraph.lstrip().startswith(("|", "#", "<", "{")):
                found.append(line)
    parts = ["\n".join(found[i] for i in range(len(found)) if (i % 10 == 9) == test) for test in (False, True)]
    learned, unseen = (np.array([LETTERS.index(letter) for letter in part]) for part in parts)
    return learned, unseen


def bits_of(scores: Array, targets: Labels) -> Array:
    """How surprising each target is, in bits."""
    scores = scores - scores.max(axis=-1, keepdims=True)
    logs = scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
    found: Array = -np.take_along_axis(logs, targets[..., None], axis=-1)[..., 0] / np.log(2)
    return found


def halves(text: Labels) -> tuple[Labels, Labels]:
    """Sequences that overlap by half, and their targets: the second half of each is judged."""
    windows = np.lib.stride_tricks.sliding_window_view(text, LENGTH + 1)[:: LENGTH // 2]
    return windows[:, :-1], windows[:, 1:]


def judged(scores: Array, targets: Labels) -> Array:
    """The bits of the characters that at least half a sequence stands before."""
    return bits_of(scores[:, LENGTH // 2 :], targets[:, LENGTH // 2 :]).ravel()


def count_letters(text: Labels) -> Array:
    """The base line: chances counted after two characters, after one and after none, mixed."""
    size = len(LETTERS)
    chances = np.full(size, 1 / size)
    for order in range(3):
        counts = np.zeros((size,) * (order + 1))
        np.add.at(counts, tuple(text[i : len(text) - order + i] for i in range(order + 1)), 1.0)
        chances = (counts + 3.0 * chances) / (counts.sum(axis=-1, keepdims=True) + 3.0)
    return chances


def judge_counts(text: Labels, unseen: Labels) -> Trained:
    """What the base line makes of the unseen text."""
    chances, seconds = timed(count_letters, text)
    x, targets = halves(unseen)
    x, targets = x[:, LENGTH // 2 :], targets[:, LENGTH // 2 :]
    before = np.concatenate([halves(unseen)[0][:, LENGTH // 2 - 1 : -1, None], x[..., None]], axis=-1)
    bits = -np.log2(chances[before[..., 0], before[..., 1], targets]).ravel()
    return Trained("counts of three letters", np.array([]), bits, seconds)


def train_torch(text: Labels, unseen: Labels, epochs: int, seed: int, progress: Any = iter) -> Trained:
    """PyTorch's transformer of the same size, by one thread."""
    torch = common.torch_on_one_thread(seed)
    nn = torch.nn
    table, places = nn.Embedding(len(LETTERS), WIDTH), nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
    nn.init.normal_(table.weight, std=0.02)
    form: Any = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
    blocks = [nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, **form) for _ in range(2)]
    head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, len(LETTERS)))
    parts = nn.ModuleList([table, *blocks, head])
    hidden = nn.Transformer.generate_square_subsequent_mask(LENGTH)

    def scores(x: Any) -> Any:
        y = table(x) + places
        for layer in blocks:
            y = layer(y, src_mask=hidden, is_causal=True)
        return head(y)

    windows = np.lib.stride_tricks.sliding_window_view(text, LENGTH + 1)[::STRIDE]
    data = torch.from_numpy(np.array(windows))

    def loss_of(rows: Any) -> Any:
        return nn.functional.cross_entropy(scores(data[rows, :-1]).flatten(0, 1), data[rows, 1:].flatten())

    optimizer = torch.optim.Adam([places, *parts.parameters()], RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * -(-len(data) // BATCH))
    losses, seconds = timed(common.torch_losses, loss_of, optimizer, len(data), epochs, BATCH, schedule, progress)
    x, targets = halves(unseen)
    with torch.no_grad():
        bits = judged(scores(torch.from_numpy(np.array(x))).numpy(), targets)
    return Trained("PyTorch, 2 blocks", losses / np.log(2), bits, seconds)


def row(trained: Trained) -> dict[str, str]:
    """A row of the table."""
    return {
        "network": trained.name,
        "bits a character, unseen text": f"{trained.bits.mean():.2f}",
        "in training": f"{trained.losses[-1]:.2f}" if len(trained.losses) else "",
        "seconds": f"{trained.seconds:.1f}",
    }


def draw(folder: Path, results: Sequence[Trained], unseen: Labels) -> None:
    """The bits of each character of a line of unseen text, and the losses."""
    from matplotlib.figure import Figure
    from pictures import draw_losses

    figure = Figure(figsize=(10, 5.2), layout="constrained")
    parts = figure.subplot_mosaic([["bits"], ["losses"]], height_ratios=[1, 1])
    _, targets = halves(unseen)
    line = targets[:, LENGTH // 2 :].ravel()[:96]
    places = np.arange(len(line))
    parts["bits"].bar(places, results[0].bits[: len(line)], color=common.BLUE, width=0.8)
    parts["bits"].set_xticks(places, [{"\n": "|"}.get(LETTERS[code], LETTERS[code]) for code in line], fontsize=8)
    parts["bits"].tick_params(axis="x", length=0)
    parts["bits"].set(ylabel="bits", xlim=(-0.8, len(line) - 0.2))
    parts["bits"].set_title("How surprising each character of unseen text is: mostly where a word begins")
    curves = {f"{trained.name}, training": [trained.losses] for trained in results if len(trained.losses)}
    colours = draw_losses(parts["losses"], curves)
    for trained in results:
        colour = colours.get(f"{trained.name}, training", common.GREY)
        parts["losses"].axhline(trained.bits.mean(), color=colour, linestyle=":", label=f"{trained.name}, unseen text")
    parts["losses"].set(ylabel="bits a character", ylim=(0, None))
    parts["losses"].legend(frameon=False, ncols=2)
    common.save(figure, folder, "characters.png")


def main(argv: Sequence[str] | None = None) -> None:
    """Train, print the table, draw the picture, write a few lines."""
    options = common.begin("A transformer that continues a text letter by letter.", 10, argv)
    print(fn.summary(net, (LENGTH,)), end="\n\n")
    key = fn.key(options.seed)
    text, unseen = prose()
    fitted, seconds = timed(train, key, text, options.epochs, common.bar("transformer"))
    x, targets = halves(unseen)
    bits = judged(net.apply(fitted.params, x), targets)
    losses = np.array(fitted.history["loss"]) / np.log(2)
    results = [Trained("funcnet, 2 blocks", losses, bits, seconds), judge_counts(text, unseen)]
    try:
        bar = common.bar("PyTorch")
        results.append(train_torch(text, unseen, options.epochs, options.seed, bar))
    except ModuleNotFoundError:
        print("PyTorch is not installed: its row is left out.\n")
    print(markdown([row(trained) for trained in results]))
    print(f"""
{len(text):,} characters to learn from, {len(bits):,} others to test with, each after at least {LENGTH // 2} others.
{options.epochs} epochs in batches of {BATCH} sequences of {LENGTH}, Adam from {RATE} down to 0, one thread.
""")
    draw(options.figures, results, unseen)
    print("\nWhat it writes after 'The network':\n")
    print(write(fn.fold_in(key, "letters"), fitted.params, "The network", 400))


if __name__ == "__main__":
    main()
