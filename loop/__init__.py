"""The campaign itself: specification, ledger, crystals, references, hull, acquisition, report.

Imports neither Prefect nor torch at module level; what it needs from the layers above is handed in.
"""
