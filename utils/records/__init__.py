"""Claims and recorded runs: what a paper reports, what was measured, and how the two are held together."""
