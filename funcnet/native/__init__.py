"""Programs as machine code: the C compiler and the C text of functions. Imports errors alone."""
