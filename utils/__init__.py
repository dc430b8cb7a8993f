"""The plumbing that the chapters share: data, run settings, claims, training loops, figures.
Models, losses and training of a paper live in its notebook, not here."""
