"""The core and the simulator as machine code, for whoever has a C compiler: optional, never needed.

`rewriting` turns a module into one that mypyc compiles well, `build` makes a folder of compiled
modules (`python -m everfly.compiled.build`, or `make compiled`), `overlay` finds that folder and
has Python import from it.

Rules: the plain modules are the truth, and what tests and coverage look at; a compiled one is used
only when it was made of exactly the sources that are here; all of them are used, or none; the same
seed gives the same world to the last delivery, which tests compare.
"""
