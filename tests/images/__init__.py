"""The Dockerfile and the compose file, read as the tools read them that are not needed for it."""
