"""What a trained model becomes: ONNX and a MLflow model, with digests."""
