"""What `benchmarks/screening.py` is made of: crystals, rows that relax them, verdicts, and tables."""
