"""The table of `report.py`: reported figures beside ours, in Markdown."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def compare(reported: float, errors: NDArray[np.floating[Any]]) -> dict[str, str]:
    """A reported error beside the errors of our draws, all in per cent."""
    low, median, high = errors.min(), np.median(errors), errors.max()
    side = "below" if reported < low else "above" if reported > high else "within"
    return {
        "reported": f"{reported:.1f} %",
        "our median": f"{median:.2f} %",
        "our range": f"{low:.1f} to {high:.1f} %",
        "reported is": f"{side} our range",
        "our median is": "as good or better" if median <= reported else f"worse by {median - reported:.2f}",
        "draws that meet it": f"{np.count_nonzero(errors <= reported)} of {len(errors)}",
    }


def markdown(rows: Sequence[dict[str, str]]) -> str:
    """Rows with the same columns as an aligned table."""
    columns = [[name, *(row[name] for row in rows)] for name in rows[0]]
    widths = [max(map(len, column)) for column in columns]
    lines = [*zip(*columns, strict=True)]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)
