"""Steps and networks as a file of C. Imports errors, tree, tracing, compiler, training and native."""
