"""Datasets as git + DVC repositories of Arrow shards: committed, validated, versioned, split and read."""
