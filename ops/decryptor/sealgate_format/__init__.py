"""Readers of everything that Sealgate stores, written from docs/ alone: a second opinion on the format, and on its description."""
