"""int8 for ONNX Runtime: quantized, corrected, and in float where a layer cannot bear it."""
