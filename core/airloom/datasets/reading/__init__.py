"""Rows of a snapshot at memory speed: mapped shards, one gather a shard, a seeded order that can be resumed."""
