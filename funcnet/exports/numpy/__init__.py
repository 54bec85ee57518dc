"""Steps and networks as a file of NumPy. Imports errors, tree, tracing, compiler and training."""
