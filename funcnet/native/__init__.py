"""Programs as machine code: the C text of a plan, the compiler, `jit`. Imports training and all below it."""
