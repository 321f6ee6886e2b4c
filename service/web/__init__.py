"""The page at ``/``: a file of HTML, styles and scripts of its own, which loads nothing from anywhere else.

The scripts are modules as browsers read them. Only the code editor is made of packages: `make page` bundles it, and
without it the page has a plain text area.
"""

from service.web.routes import page_routes

__all__ = ["page_routes"]
