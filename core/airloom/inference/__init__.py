"""A stored model answers raw rows: judged, made arrays of, run, put into words. Server and `predict` share it."""
