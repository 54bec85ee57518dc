"""A program as text: a line a call."""

from __future__ import annotations

from typing import Any

from funcnet.plan import Plan


def listing(title: str, plan: Plan) -> str:
    """Placeholder."""
    return f"{title}: {len(plan.calls)} calls"
