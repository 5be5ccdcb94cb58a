"""Neural networks on ONNX Runtime: weights in, a callable out, loaded once a process."""
