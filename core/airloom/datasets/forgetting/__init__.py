"""Deleted is deleted: rows go from every version, file and commit that holds them."""
