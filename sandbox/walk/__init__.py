"""The walk of one payment: which files and functions of Meterhall it passes, in which order. See __main__.py."""
