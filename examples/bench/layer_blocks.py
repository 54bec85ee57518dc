"""The networks of `--layers`."""

from bench import attention, images, recurrence
from bench.layers import Block

BLOCKS: tuple[Block, ...] = (*images.BLOCKS, *recurrence.BLOCKS, *attention.BLOCKS)
