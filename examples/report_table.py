"""The table of `report.py`: reported figures beside ours, in Markdown."""

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
