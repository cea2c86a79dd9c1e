"""How a version lies in git and DVC: repository, manifests, shards, digests."""
