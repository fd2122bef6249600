"""Decide: facts in, intentions out. Pure, standard library only; see `machine` for the door."""
