"""A step as a supervised child process."""
