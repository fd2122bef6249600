"""`everfly sim`: the real core in a simulated world, every world reproducible from its seed."""
