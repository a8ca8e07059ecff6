"""Generators that need no training data: baselines to every learned one, and good ones in small systems."""
