"""The data plane of the Everfly endpoint: threads in Rust that carry the clients' traffic.

All of the module is the class `Plane`; its types and rules are in `__init__.pyi`.
"""

from everfly_endpoint._native import Plane, __version__

__all__ = ["Plane", "__version__"]
