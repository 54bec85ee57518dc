"""Steps and networks as a file of NumPy. Imports tracing, compiler, training, native and exports."""
