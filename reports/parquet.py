"""fastparquet, which takes a while to load: import this where it is needed.

It reads an option of pandas that pandas is to lose, and pandas says so to whoever reads the terminal: it is neither his
doing nor his to mend.
"""

from __future__ import annotations

import warnings

from pandas.errors import Pandas4Warning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", Pandas4Warning)
    import fastparquet

__all__ = ["fastparquet"]
