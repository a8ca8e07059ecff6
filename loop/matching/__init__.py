"""What pymatgen's StructureMatcher will say, for many pairs of cells at once: the arithmetic behind `loop.identity`."""
