"""What runs: the campaign's stages, Prefect flows, atomate2/jobflow verification, the command line."""
