"""The steps of a pipeline, one file each; operators, `airloom run` and the cache take the `base.Step` of each."""
