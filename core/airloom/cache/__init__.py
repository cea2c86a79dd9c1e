"""A step whose inputs are unchanged is not run again; what changed is named. See docs/adr/0024."""
