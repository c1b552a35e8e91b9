"""Records turned into pages: ``build_site(results)`` writes ``results/site`` and returns its index."""

from __future__ import annotations

from reports.site.build import ReportError, build_site, compare_page, kernels_page, night_page, run_page

__all__ = ["ReportError", "build_site", "compare_page", "kernels_page", "night_page", "run_page"]
