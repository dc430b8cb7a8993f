"""Speed of the book's fast paths against what a reader would otherwise run: one module for each chapter."""
