"""Whether a candidate may pass: the decision stands without any I/O.

`decide`, `paired` and `alpha_spending` decide; the other files bring the evidence and keep it.
"""
