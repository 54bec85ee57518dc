"""Networks as ONNX models. Imports core, tracing, layers and networks."""
